"""A live module as a model: evaluated in the middle of its training, and left as it was found.

The module itself is never run: a copy that shares its weights is.  Knows nothing of training.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from copy import deepcopy
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo
from infimm_eval.models.flamingo import build as flamingo
from infimm_eval.models.shared import checkpoints
from infimm_eval.models.shared.answering import Answering
from infimm_eval.types import Answer, Image, Request, Style

if TYPE_CHECKING:
    from infimm_eval.models.flamingo.model import FlamingoModel
    from infimm_eval.models.transformers.model import TransformersModel

    Session: TypeAlias = FlamingoModel | TransformersModel

_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
    "InfiMM": "model",
}
"""What trainers and Auto classes put around a module, and the attribute in which it is found."""


def wrap(
    module: Any, processor: Any, *, name: str | None, style: Style | None, own: Mapping[str, Any]
) -> LiveModel:
    """The live model of a module and its processor; UsageError for those that do not belong
    together or are of no known kind."""
    while type(module).__name__ in _WRAPPERS:
        module = getattr(module, _WRAPPERS[type(module).__name__])
    if not isinstance(module, nn.Module):
        raise UsageError(f"wrap takes a torch.nn.Module, not {type(module).__name__!r}")
    _require_whole(module)
    name = name or type(module).__name__
    if isinstance(module, Flamingo):
        return LiveModel(module, flamingo.live(processor, name, style, own), name)
    if hasattr(module, "generate") and hasattr(module, "config"):
        # Brings the library, which whoever has such a model has, and others need not wait for.
        from infimm_eval.models.transformers import build as transformers

        return LiveModel(module, transformers.live(processor, name, style, own), name)
    raise UsageError(
        f"wrap takes a Flamingo or a model of transformers, not {type(module).__name__!r}; give a "
        "module of another kind name, style, settings and generate(requests), and pass it as it is"
    )


class LiveModel:
    """A module in memory that answers prompts.

    What answers is a copy of the module's structure over the same weights, in evaluation mode, so
    that it takes no memory for them and the module keeps its modes, gradients, hooks and
    attributes.  Autocast is off and every random state is put back whenever an answer is given, so
    a training run goes on as if nobody had asked, also after an evaluation that was left midway.

    The copy and what it keeps of pictures and prompts are made when they are first needed and
    dropped by ``close``, or where the module's weights are no longer those that they were made of:
    that is seen, whenever answers or settings are asked for, by the addresses of its tensors and a
    sample of their numbers.  The processor is taken as it is at that moment.
    """

    def __init__(self, module: nn.Module, build: Callable[[Any, str], Session], name: str) -> None:
        """``build`` makes a model of the copy and the fingerprint of its weights."""
        self.name = name
        self._module = module
        self._build = build
        self._session: tuple[Session, object] | None = None
        self._counted: Mapping[str, float] = {}
        self._answering = Answering()

    @property
    def style(self) -> Style:
        """The style that the processor comes with a format for, unless told otherwise."""
        return self._opened().style

    @property
    def prompt_format(self) -> str | None:
        """The backend's, where its family has one."""
        return getattr(self._opened(), "prompt_format", None)

    @property
    def device(self) -> str:
        """Where its weights are."""
        return ", ".join(sorted(map(str, _devices(self._module))))

    @property
    def picture_tokens(self) -> Mapping[str, int] | None:
        """The backend's, where it knows."""
        return getattr(self._opened(), "picture_tokens", None)

    @property
    def picture_encoder(self) -> Any:
        """The backend's, as undisturbing as its answers; ``None`` where it has none."""
        encoder = self._opened().picture_encoder
        return encoder and _Undisturbed(encoder, _devices(self._module))

    @property
    def one_picture(self) -> bool:
        """The backend's."""
        return bool(getattr(self._opened(), "one_picture", False))

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the backend; the fingerprint is of the weights as they stand."""
        return {**self._opened().settings, "fingerprint_of": "weights in memory"}

    @property
    def statistics(self) -> Mapping[str, float]:
        """The backend's, of all sessions together."""
        return _added(self._counted, self._session[0].statistics if self._session else {})

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """As the backend does."""
        return self._answering.begun(self._answers(requests, "generate"))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """As the backend does."""
        return self._answering.begun(self._answers(requests, "rank"))

    def close(self) -> None:
        """Ends what is being answered and drops everything but the module."""
        self._answering.close()
        self._drop()

    def __enter__(self) -> LiveModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self, requests: Iterable[Request], how: str) -> Generator[Answer]:
        answers: Generator[Answer] = getattr(self._opened(), how)(requests)
        devices = _devices(self._module)
        with closing(answers):
            while True:
                with undisturbed(devices):
                    answer = next(answers, None)
                if answer is None:
                    return
                yield answer

    def _opened(self) -> Session:
        """The model of the copy, made anew where there is none or the weights are others."""
        with undisturbed(_devices(self._module)):
            stamp = _stamp(self._module)
            if self._session is None or self._session[1] != stamp:
                self._drop()
                model = self._build(shared_copy(self._module), fingerprint(self._module))
                self._session = model, stamp
        return self._session[0]

    def _drop(self) -> None:
        if self._session is not None:
            self._counted = _added(self._counted, self._session[0].statistics)
            self._session[0].close()
            self._session = None


class _Undisturbed:
    """A picture encoder that leaves every random state as it was."""

    def __init__(self, encoder: Any, devices: Collection[torch.device]) -> None:
        self._encoder = encoder
        self._devices = devices
        self.identity: Mapping[str, Any] = encoder.identity

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """As the backend does."""
        with undisturbed(self._devices):
            return self._encoder.encode_pictures(images)


@contextmanager
def undisturbed(devices: Collection[torch.device]) -> Iterator[None]:
    """Inside, autocast is off; afterwards Python's, numpy's and torch's random states are what they
    were."""
    accelerators = [device for device in devices if device.type == "cuda"]
    numpy: Any = sys.modules.get("numpy")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(accelerators))
        for kind in {"cpu"} | {device.type for device in devices}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        try:
            yield
        finally:
            random.setstate(python_state)
            if numpy:
                numpy.random.set_state(numpy_state)


def shared_copy(module: nn.Module) -> nn.Module:
    """The same structure over the same weights, in evaluation mode; buffers are its own.

    Whatever is set, hooked or replaced in the copy, a parameter's ``data`` included, is not in the
    module; weights that are changed in place change in both.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for held in [*vars(part).values(), *part.buffers(recurse=False)]:
            if isinstance(held, Tensor):
                memo[id(held)] = held.detach().clone()
        for weight in part.parameters(recurse=False):
            # Quantized weights know more than their numbers, and nobody replaces those.
            plain = type(weight) is nn.Parameter
            memo[id(weight)] = nn.Parameter(weight.detach(), False) if plain else weight
    try:
        copy = deepcopy(module, memo)
    except (RuntimeError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(
            f"{type(module).__name__} cannot be copied beside its weights: {reason}"
        ) from error
    return copy.eval()


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over name, type, shape and bytes of every parameter and buffer.  Reads all of them,
    several at once."""
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    with ThreadPoolExecutor(4) as pool:
        digests = dict(zip(tensors, pool.map(_digest, tensors.values()), strict=True))
    return checkpoints.named(*(f"{name} {digests[name]}" for name in sorted(digests)))


def _digest(tensor: Tensor) -> str:
    digest = sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _stamp(module: nn.Module) -> object:
    """Tells the weights from those of another time: where each tensor lies, and 16 of its
    numbers."""
    found: dict[torch.device, list[Tensor]] = {}
    tensors = [*module.parameters(), *module.buffers()]
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // 16)][:16]
        found.setdefault(tensor.device, []).append(some.double())
    numbers = [torch.cat(some).cpu().numpy().tobytes() for some in found.values()]
    return numbers, [tensor.data_ptr() for tensor in tensors]


def _devices(module: nn.Module) -> set[torch.device]:
    return {tensor.device for tensor in module.parameters()}


def _require_whole(module: nn.Module) -> None:
    """UsageError for weights of which this process has a part only, or none."""
    kinds = {type(part).__name__ for part in [*module.modules(), *module.parameters()]}
    partial = "FullyShardedDataParallel" in kinds or "DTensor" in kinds
    if partial or any(hasattr(weight, "ds_id") for weight in module.parameters()):
        raise UsageError(
            f"the weights of {type(module).__name__} are spread over processes; gather them, or "
            "save a checkpoint and evaluate that"
        )
    if any(weight.is_meta for weight in module.parameters()):
        raise UsageError(f"the weights of {type(module).__name__} are not in memory")


def _added(counted: Mapping[str, float], more: Mapping[str, float]) -> dict[str, float]:
    return {name: counted.get(name, 0) + more.get(name, 0) for name in {**counted, **more}}
