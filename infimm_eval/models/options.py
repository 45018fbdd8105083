"""What a person chooses about how a model runs, and what a backend is.

Imports no backend, and knows nothing of how one computes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from infimm_eval.errors import UsageError

if TYPE_CHECKING:
    from infimm_eval.types import Model

BatchSize: TypeAlias = int | Literal["auto"]
Quantization: TypeAlias = Literal["4bit", "8bit"]


_FOR = {
    "device": ("--device", "models that run here"),
    "dtype": ("--dtype", "models that run here"),
    "batch_size": ("--batch-size", "models that answer many at a time"),
    "revision": ("--model-revision", "models from the hub"),
    "base_url": ("--base-url", "openai:NAME"),
    "picture_cache": ("--picture-cache", "models that run here"),
    "device_map": ("--device-map", "hf:ID"),
    "quantization": ("--quantization", "hf:ID"),
}
"""The shared fields of ``ModelOptions`` as the command line calls them, and whom they are for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How a model runs.  What a backend does not take is refused, never ignored."""

    device: str = "auto"
    """``auto``: the first accelerator, else the processor."""
    dtype: str = "auto"
    """``auto``: bfloat16 on an accelerator, float32 on a processor."""
    batch_size: BatchSize = "auto"
    revision: str | None = None
    base_url: str | None = None
    picture_cache: Path | None = None
    """A folder that keeps encoded pictures for later runs of the same weights."""
    device_map: str | None = None
    """``auto``: the layers spread over all accelerators that there are."""
    quantization: Quantization | None = None
    """The bits of a weight, ``4bit`` or ``8bit``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The backend's own, by name; text is read as what the backend wants (``--model-option``)."""

    @classmethod
    def of(cls, **chosen: Any) -> ModelOptions:
        """From keyword arguments: those that are no fields here are the backend's own."""
        own = {name: value for name, value in chosen.items() if name not in _FOR}
        return cls(**{name: chosen[name] for name in chosen.keys() - own}, options=own)

    def __post_init__(self) -> None:
        """Refuses a batch of nothing."""
        if isinstance(self.batch_size, int) and self.batch_size < 1:
            raise UsageError(f"a batch holds at least 1 request, not {self.batch_size}")

    def wanted(self, names: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
        """What a signature asks for by the names of the shared fields, chosen or not."""
        return {
            name: getattr(self, name)
            for name, parameter in names.items()
            if name in _FOR and (name in self.chosen or parameter.default is parameter.empty)
        }

    @property
    def chosen(self) -> dict[str, Any]:
        """What is not as it is without a word, the backend's own options aside."""
        plain = {f.name: f.default for f in fields(self)}
        told = {name: getattr(self, name) for name in _FOR}
        return {name: value for name, value in told.items() if value != plain[name]}

    def require(self, takes: Container[str], spec: str, takers: str = "") -> None:
        """UsageError for the first choice that is not among those a backend ``takes``, with the
        ``takers`` that would."""
        for name in self.chosen:
            if name not in takes:
                flag, usual = _FOR[name]
                raise UsageError(f"{flag} is for {takers or usual}; {spec!r} does not take it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One kind of model, as ``--model`` names it."""

    name: str
    form: str
    """As it is written: ``NAME``, ``NAME:WHAT`` or ``NAME[:WHAT]``."""
    about: str
    build: Callable[[str, ModelOptions], Model] | str
    """Makes the model of what stands after the colon; as text, ``package.module:function``,
    imported when it is needed."""
    takes: frozenset[str]
    """The fields of ``ModelOptions`` that it honours."""
    computes: bool = True
    """Whether it runs here, on an accelerator where there is one."""
    known: Callable[[str, ModelOptions], Mapping[str, Any]] | str | None = None
    """Settings, its ``fingerprint`` above all, that can be known of a model before it is loaded:
    by what many workers that load it are measured."""
    ahead: Callable[[str, ModelOptions, Model | None], Callable[[], Model]] | str | None = None
    """See ``models.load_ahead``, for those that can take the place of another model."""

    @property
    def stands_alone(self) -> bool:
        """Whether its name is enough."""
        return ":" not in self.form or "[" in self.form

    @property
    def listed(self) -> str:
        """As a list of backends shows it."""
        return self.form if self.stands_alone else f"{self.name}:..."

    def open(self, name: str, options: ModelOptions) -> Model:
        """The model; UsageError for a name or a choice that nothing can be done with."""
        self._require(name, options)
        model: Model = _function(self.build)(name, options)
        return model

    def open_ahead(
        self, name: str, options: ModelOptions, standing: Model | None
    ) -> Callable[[], Model]:
        """What makes the model when ``standing`` is done with; UsageError as ``open``'s."""
        self._require(name, options)
        assert self.ahead is not None
        made: Callable[[], Model] = _function(self.ahead)(name, options, standing)
        return made

    def _require(self, name: str, options: ModelOptions) -> None:
        spec = f"{self.name}:{name}" if name else self.name
        if (name and ":" not in self.form) or (not name and not self.stands_alone):
            raise UsageError(f"model {spec!r}: write {self.form}")
        options.require(self.takes, spec)

    def settings(self, name: str, options: ModelOptions) -> Mapping[str, Any]:
        """What can be known of the model's settings without loading it."""
        if self.known is None:
            return {}
        found: Mapping[str, Any] = _function(self.known)(name, options)
        return found


def _function(named: Callable[..., Any] | str) -> Callable[..., Any]:
    """A function, or the one that ``package.module:function`` names."""
    if not isinstance(named, str):
        return named
    module, _, function = named.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def keywords(target: Callable[..., object], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``given`` as the keyword arguments of ``target``: text becomes what the annotation wants, or
    else the number, truth or JSON that it spells.

    UsageError for an option that the signature does not have, with those that it has; for text of
    the wrong kind; for an argument that is missing.
    """
    found = parameters(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in found.values())
    known = {n: p for n, p in found.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    for name in given:
        if name not in known and not open_ended:
            raise UsageError(
                f"unknown option {name!r} of {where}; it takes {', '.join(known) or 'none'}"
            )
    missing = [n for n, p in known.items() if p.default is p.empty and n not in given]
    if missing:
        raise UsageError(f"{where} needs --model-option {missing[0]}=...")
    annotations = {name: p.annotation for name, p in known.items()}
    return {n: _read(n, value, annotations.get(n, Any), where) for n, value in given.items()}


def parameters(target: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a signature by name, their annotations as values where that can be."""
    try:
        return inspect.signature(target, eval_str=True).parameters
    except NameError:  # an annotation that only a type checker can resolve
        return inspect.signature(target).parameters


_PLAIN = {bool: "true or false", int: "a whole number", float: "a number"}


def _read(name: str, value: Any, annotation: Any, where: str) -> Any:
    if not isinstance(value, str):
        return value
    kinds = get_args(annotation) or (annotation,)
    if str in kinds:
        return None if NoneType in kinds and value in ("None", "null") else value
    if Path in kinds:
        return Path(value)
    parsed = _spelled(value)
    if float in kinds and int not in kinds and type(parsed) is int:
        return float(parsed)
    if type(parsed) not in kinds and all(kind in (*_PLAIN, NoneType) for kind in kinds):
        wanted = " or ".join(_PLAIN[kind] for kind in kinds if kind is not NoneType)
        raise UsageError(f"{where}: {name}={value!r} is not {wanted}")
    return parsed


def _spelled(text: str) -> Any:
    """The number, truth, nothing or JSON that a text spells, else itself."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
