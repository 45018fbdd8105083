"""Models of one's own: ``./file.py``, ``./file.py:NAME``, ``package.module:NAME``.

Holds what it finds against the ``Model`` protocol, and never looks inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from uuid import uuid4

from infimm_eval import plugins
from infimm_eval.errors import UsageError
from infimm_eval.models.options import ModelOptions, keywords, parameters
from infimm_eval.types import Style

if TYPE_CHECKING:
    from infimm_eval.types import Model

NEEDED = ("name", "style", "settings", "generate")
"""What a model cannot be without; ``rank`` only where options are to be ranked."""

TAKERS = "models whose class or function names it"

STILL = ("device", "batch_size", "picture_cache")
"""Options that move no number."""


def build(spec: str, options: ModelOptions) -> Model:
    """The object that ``spec`` names, or what its class or function returns when it is called with
    the options.

    ``device``, ``dtype``, ``batch_size`` and their like are passed where they were chosen and the
    signature names them.  A model whose settings lack a ``fingerprint`` gets one of its source file
    and options.  UsageError, in one line, for everything that keeps it from being a model.
    """
    place, name = (spec, "MODEL") if spec.endswith(".py") else spec.rsplit(":", 1)
    if place.endswith(".py"):
        module = plugins.from_file(Path(place), "infimm_eval.own_models")
    else:
        module = plugins.from_module(place)
    where = f"{name} of {place}"
    target = plugins.attribute(module, name)
    given = _given(target, options, where)
    model: Any = target(**given) if callable(target) and _is_made(target) else target
    check(model, where)
    if "fingerprint" not in model.settings:
        named = _fingerprint(Path(str(module.__file__)), given)
        model = _Fingerprinted(model, named, "source file and options")
    found: Model = model
    return found


def adopt(model: Any) -> Model:
    """An object of Python's as a model.  One without a fingerprint gets one that nothing else has,
    now or later: what another object answered is never taken for its answers."""
    where = f"the model, a {type(model).__name__}"
    if isinstance(model, type):
        raise UsageError(
            f"the model is the class {model.__name__}; call it, and give what it makes"
        )
    if not any(hasattr(model, name) for name in NEEDED[:3]):
        raise UsageError(
            f"{where}, has no {', '.join(NEEDED[:3])}; for a live module with its processor write "
            "ie.wrap(model, processor)"
        )
    check(model, where)
    if "fingerprint" in model.settings:
        found: Model = model
        return found
    adopted: Any = _Fingerprinted(model, uuid4().hex[:16], "this object, this once")
    return adopted  # type: ignore[no-any-return]


def _is_made(target: object) -> bool:
    """A class or a function, which makes a model; an object is one."""
    return isinstance(target, type) or not hasattr(target, "generate")


def _given(target: object, options: ModelOptions, where: str) -> dict[str, Any]:
    """The keyword arguments that make the model."""
    if not callable(target) or not _is_made(target):
        options.require((), where, TAKERS)
        if options.options:
            raise UsageError(
                f"{where} is an object and takes no options; a class or a function would"
            )
        return {}
    named = parameters(target)
    options.require(named, where, TAKERS)
    return keywords(target, {**options.wanted(named), **options.options}, where)


def check(model: Any, where: str) -> None:
    """Everything that the protocol says and a look can tell, before anything is asked."""
    lacking = [name for name in NEEDED if not hasattr(model, name)]
    if len(lacking) == len(NEEDED):
        raise UsageError(
            f"{where} should be a model, or a class or a function that returns one; it is "
            f"{type(model).__name__!r}"
        )
    if lacking:
        raise UsageError(f"{where} lacks {', '.join(lacking)}; a model has {', '.join(NEEDED)}")
    for name in ("generate", "rank"):
        if not callable(getattr(model, name, len)):
            raise UsageError(f"{name} of {where} should be a method that takes requests")
    if not isinstance(model.name, str) or not model.name:
        raise UsageError(f"name of {where} should be what tables call it, not {model.name!r}")
    if model.style not in get_args(Style):
        known = " or ".join(get_args(Style))
        raise UsageError(f"style of {where} should be {known}, not {model.style!r}")
    if not isinstance(model.settings, Mapping):
        kind = type(model.settings).__name__
        raise UsageError(f"settings of {where} should be a mapping such as a dict, not {kind!r}")
    try:
        json.dumps(dict(model.settings))
    except (TypeError, ValueError) as error:
        raise UsageError(f"settings of {where} go into the log as JSON: {error}") from error


def _fingerprint(source: Path, given: Mapping[str, Any]) -> str:
    moving = {n: v for n, v in sorted(given.items()) if n not in STILL}
    told = json.dumps(moving, default=str)
    return sha256(source.read_bytes() + told.encode()).hexdigest()[:16]


class _Fingerprinted:
    """A model whose settings do not tell it from others, with a fingerprint that does."""

    def __init__(self, model: Any, fingerprint: str, of: str) -> None:
        """``of``: what the fingerprint is made of, for whoever reads the settings."""
        self._model = model
        self._fingerprint = fingerprint
        self._of = of

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # while it is being copied
            raise AttributeError(name)
        return getattr(self._model, name)

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            **self._model.settings,
            "fingerprint": self._fingerprint,
            "fingerprint_of": self._of,
        }
