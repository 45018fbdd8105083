"""CLIP's two towers by the open_clip library, from weights in a local file or of a known tag.

Knows the library and its traps; what features are compared for is not its business.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import file_digest
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from infimm_eval.errors import UsageError, first_line, unknown
from infimm_eval.flamingo.pictures import MAX_PIXELS, opened
from infimm_eval.types import Image

_ASTRAY: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    StopIteration, TypeError, ValueError, pickle.UnpicklingError, SafetensorError,
)  # fmt: skip
"""What the library raises at a file that is none of its own."""

TWIN = "-quickgelu"
"""Ends the names of architectures that compute QuickGELU in place of GELU."""


class ClipEncoder:
    """``encode_image`` and ``encode_text``: projected features in float32, without autocast, of
    pictures in the library's validation transform."""

    def __init__(
        self,
        model: Any,
        transform: Any,
        tokenizer: Callable[[], Any],
        identity: Mapping[str, Any],
    ) -> None:
        """``tokenizer`` opens it, which some architectures have on the hub alone."""
        self._model = model
        self._transform = transform
        self._tokenizer = tokenizer
        self._tokenize: Any = None
        self._device = next(model.parameters()).device
        self.identity = identity

    @property
    def text_identity(self) -> Mapping[str, Any]:
        """The same weights, another tower."""
        rest = {name: value for name, value in self.identity.items() if name != "transform"}
        return {**rest, "of": "texts"}

    @classmethod
    def load(cls, name: str, device: str, note: Callable[[str], None]) -> ClipEncoder:
        """Of ``NAME@FILE``, ``NAME/TAG@FILE`` or ``NAME/TAG``.

        A tag says how its weights were trained: which activation, which colour statistics.  A file
        alone says neither; where an architecture comes with both activations, ``note`` says which
        one its name stands for.  ``UsageError`` for a name, a tag, a file that is none, and for no
        weights at all, for which the library would invent some.
        """
        if find_spec("open_clip") is None:
            raise UsageError(
                "--retrieval-model open_clip:... needs open_clip: pip install "
                "'infimm-eval[retrieval]'"
            )
        library: Any = import_module("open_clip")
        named, _, file = name.partition("@")
        architecture, config, tag, about = _known(library, named)
        if not file and not tag:
            raise UsageError(
                f"--retrieval-model open_clip:{name} names no weights; write "
                f"open_clip:{named}@FILE, or a tag: open_clip:{named}/TAG"
            )
        path = Path(file).expanduser() if file else _downloaded(library, name, about)
        if not path.is_file():
            raise UsageError(f"--retrieval-model open_clip:{name}: there is no file {path}")
        quick = bool(config.get("quick_gelu") or about.get("quick_gelu"))
        if not tag and not quick and library.get_model_config(architecture + TWIN):
            note(
                f"{architecture} is computed with GELU; weights of OpenAI, DFN and MetaCLIP want "
                f"QuickGELU: open_clip:{architecture}{TWIN}@FILE"
            )
        model, transform = _opened(library, architecture, path, quick, about)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        with path.open("rb") as read:
            weights = file_digest(read, "sha256").hexdigest()
        identity = {
            "encoder": "open_clip",
            "architecture": architecture,
            "weights": weights,
            "quick_gelu": quick,
            "transform": _plain(model.visual.preprocess_cfg),
            "open_clip": library.__version__.partition(".")[0],
            "dtype": "float32",
        }
        return cls(
            model.to(device), transform, partial(_tokenizer, library, architecture), identity
        )

    @torch.inference_mode()
    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """(N, D)."""
        pixels = torch.stack([self._transform(_pillow(image)) for image in images])
        return self._model.encode_image(pixels.to(self._device)).float().cpu().numpy()

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Any:
        """(N, D); a text ends with the tower's context (77 tokens)."""
        self._tokenize = self._tokenize or self._tokenizer()
        tokens = self._tokenize(list(texts)).to(self._device)
        return self._model.encode_text(tokens).float().cpu().numpy()


def _known(library: Any, named: str) -> tuple[str, Any, str, Mapping[str, Any]]:
    """Architecture, its configuration, the tag (or "") and what the library knows of it."""
    for architecture, tag in ((named.replace("/", "-"), ""), named.rpartition("/")[::2]):
        config = library.get_model_config(architecture.replace("/", "-"))
        if config is None:
            continue
        if not tag:
            return architecture, config, "", {}
        plain = architecture.replace("/", "-")
        if about := library.get_pretrained_cfg(plain, tag):
            return plain, config, tag, about
        raise unknown(f"tag of {plain}", tag, library.list_pretrained_tags_by_model(plain))
    raise unknown("architecture of open_clip", named, library.list_models())


def _downloaded(library: Any, name: str, about: Mapping[str, Any]) -> Path:
    """A tag's weights, from the library's own cache or the network."""
    try:
        return Path(library.download_pretrained(about))
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"--retrieval-model open_clip:{name}: its weights cannot be had "
            f"({first_line(error)}); name a local file: open_clip:{name}@FILE"
        ) from error


def _opened(
    library: Any, architecture: str, path: Path, quick: bool, about: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The model in evaluation mode, every weight from the file, and its validation transform."""
    pictures = {
        f"image_{name}": about[name]
        for name in ("mean", "std", "interpolation", "resize_mode")
        if name in about
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, _, transform = library.create_model_and_transforms(
                architecture, pretrained=str(path), force_quick_gelu=quick, **pictures
            )
    except _ASTRAY as error:
        raise UsageError(
            f"{path} cannot be loaded into {architecture} ({first_line(error)}); is it a state "
            "dict of that architecture, as .safetensors or .pt?"
        ) from error
    return model.eval(), transform


def _tokenizer(library: Any, architecture: str) -> Any:
    try:
        return library.get_tokenizer(architecture)
    except _ASTRAY as error:
        raise UsageError(
            f"the tokenizer of {architecture} cannot be had ({first_line(error)}); --support rices "
            "needs none"
        ) from error


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON would have it."""
    return {n: list(v) if isinstance(v, tuple) else v for n, v in sorted(values.items())}


def _pillow(image: Image) -> Any:
    try:
        return opened(image.read(), image.name, MAX_PIXELS)
    except OSError as error:
        raise UsageError(f"{image.name}: the picture cannot be read ({error})") from error
