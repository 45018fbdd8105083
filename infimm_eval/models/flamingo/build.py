"""From a checkpoint in a Flamingo's layout to a model that answers prompts.

Knows where files lie and what was chosen; reads no prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch

from infimm_eval import flamingo
from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Told
from infimm_eval.flamingo.checkpoint import Weights, assembled, find, fit, read, refill
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.processor import Processor
from infimm_eval.models.flamingo.engine import EngineOptions
from infimm_eval.models.flamingo.model import FlamingoModel
from infimm_eval.models.options import ModelOptions, keywords
from infimm_eval.models.shared import checkpoints
from infimm_eval.models.shared.devices import device_of, dtype_of
from infimm_eval.types import Model, Style

DEMO = Path(__file__).parents[2] / "demo" / "checkpoint"
DEMO_CHAT = DEMO.with_name("chat")
"""The two small InfiMMs that come with the package: after pretraining, and after instruction
tuning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions(EngineOptions):
    """What may be chosen of a checkpoint beside how the work is arranged."""

    style: Style | None = None
    """The style of prompts; the one that the checkpoint comes with a format for, unless given."""
    resampler_heads: int | None = None
    """Where the checkpoint does not tell; see ``flamingo.Told``, also for the others."""
    language_model: str | None = None
    vision_tower: str | None = None
    tokenizer: str | None = None
    cross_attn_every_n_layers: int | None = None
    extra_weights: str | None = None
    otter_cache: Literal["kept", "original"] | None = None

    @property
    def told(self) -> Told:
        """What the files do not say."""
        return Told(**{f.name: getattr(self, f.name) for f in fields(Told)})


def build(name: str, options: ModelOptions) -> FlamingoModel:
    """``name``: a folder or a hub id in a layout of the Flamingo family."""
    return _loaded(_folder(name, options), Path(name).name or name, options)


def _folder(name: str, options: ModelOptions) -> Path:
    folder = checkpoints.folder(name, options.revision)
    if (folder / checkpoints.ADAPTER).is_file():
        raise UsageError(
            f"{folder} holds an adapter, which this backend does not put on; merge it into the "
            "weights that it is for"
        )
    return folder


def build_ahead(
    name: str, options: ModelOptions, standing: Model | None
) -> Callable[[], FlamingoModel]:
    """Reads a checkpoint beside a model that may still be answering; what is returned makes a model
    of it when that one is done with.  Where both are alike but for their numbers these are copied
    into its memory, so that steps which were recorded on it stay, and it is closed."""
    prepared = _prepared(_folder(name, options), Path(name).name or name, options, held="cpu")

    def build() -> FlamingoModel:
        if isinstance(standing, FlamingoModel) and prepared.fits(standing):
            return prepared.in_place_of(standing)
        return prepared.model()

    return build


def build_demo(_: str, options: ModelOptions) -> FlamingoModel:
    """The small InfiMM that comes with the package, as pretraining left it."""
    return _loaded(DEMO, "demo", options)


def build_demo_chat(_: str, options: ModelOptions) -> FlamingoModel:
    """The same after instruction tuning."""
    return _loaded(DEMO_CHAT, "demo-chat", options)


def known(name: str, options: ModelOptions) -> Mapping[str, Any]:
    """The fingerprint of a checkpoint that lies in a folder here."""
    return _known(Path(name), options) if Path(name).is_dir() else {}


def known_of_demo(_: str, options: ModelOptions) -> Mapping[str, Any]:
    """The fingerprint of the pretrained one that comes with the package."""
    return _known(DEMO, options)


def known_of_demo_chat(_: str, options: ModelOptions) -> Mapping[str, Any]:
    """The fingerprint of the one that is spoken to in turns."""
    return _known(DEMO_CHAT, options)


def live(
    processor: Any, name: str, style: Style | None, own: Mapping[str, Any]
) -> Callable[[Any, str], FlamingoModel]:
    """What makes a model of a Flamingo in memory and the fingerprint of its weights.

    Weights are not copied to be read together, unless asked for: the memory is its trainer's.
    """
    processor = getattr(processor, "processor", processor)  # the one that an Auto class gives
    if not isinstance(processor, Processor):
        kind = type(processor).__name__
        raise UsageError(
            f"a Flamingo is wrapped with its Processor (Processor.load(FOLDER)), not {kind!r}"
        )
    options = EngineOptions(**keywords(EngineOptions, {"joined": False, **own}, "wrap"))

    def build(module: flamingo.Flamingo, fingerprint: str) -> FlamingoModel:
        return FlamingoModel(
            module,
            processor,
            name=name,
            fingerprint=checkpoints.named(fingerprint, processor.tokenizer.raw.to_str()),
            style=style,
            options=options,
        )

    return build


def _known(folder: Path, options: ModelOptions) -> Mapping[str, Any]:
    own = BuildOptions(**keywords(BuildOptions, options.options, folder.name))
    found = find(folder, told=own.told)
    return {"fingerprint": checkpoints.fingerprint(*found.parts.places)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A checkpoint that was read, before there is a model of it."""

    name: str
    processor: Processor
    weights: Weights
    fingerprint: str
    facts: Mapping[str, Any]
    device: torch.device
    own: BuildOptions

    def model(self) -> FlamingoModel:
        """A model of its own."""
        state = self.weights.state
        for name in state:
            state[name] = state[name].to(self.device)
        return self._model(assembled(self.weights))

    def fits(self, standing: FlamingoModel) -> bool:
        """Whether the weights may take the place of a model's own."""
        model, options = standing.engine.model, standing.engine.options
        alike = options == self.own and model.device.type == self.device.type
        return alike and fit(model, self.weights)

    def in_place_of(self, standing: FlamingoModel) -> FlamingoModel:
        """A model in the memory of another one, which is closed."""
        graphs = standing.hand_over()
        refill(standing.engine.model, self.weights)
        return self._model(standing.engine.model, graphs)

    def _model(self, model: flamingo.Flamingo, graphs: CudaGraphs | None = None) -> FlamingoModel:
        return FlamingoModel(
            model,
            self.processor,
            name=self.name,
            fingerprint=self.fingerprint,
            style=self.own.style,
            facts=self.facts,
            options=self.own,
            graphs=graphs,
        )


def _loaded(folder: Path, name: str, options: ModelOptions) -> FlamingoModel:
    return _prepared(folder, name, options).model()


def _prepared(folder: Path, name: str, options: ModelOptions, held: str | None = None) -> _Prepared:
    """Its weights are on the device ``held``: the model's own, unless told."""
    device = device_of(options)
    dtype = dtype_of(options, device)
    shared = {"batch_size": options.batch_size, "picture_cache": options.picture_cache}
    own = BuildOptions(**keywords(BuildOptions, {**shared, **options.options}, name))
    with ThreadPoolExecutor(1) as beside:
        processor = Processor.load(folder, own.told)
        found = find(folder, told=own.told)
        fingerprint = beside.submit(checkpoints.fingerprint, *found.parts.places)
        return _Prepared(
            name=name,
            processor=processor,
            weights=read(found, device=held or device, dtype=dtype),
            fingerprint=fingerprint.result(),
            facts=checkpoints.step(folder),
            device=device,
            own=own,
        )
