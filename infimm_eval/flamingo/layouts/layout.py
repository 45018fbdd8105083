"""What a layout is: how one family of checkpoints is laid out, as a value.

Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.section import Section
from infimm_eval.flamingo.templates import ChatFormats

C = TypeVar("C", bound=Section)
Shape = tuple[int, ...]


def _as_it_is(config: C, shapes: Mapping[str, Shape], resampler_heads: int | None) -> C:
    return config


def _nothing(config: Any) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True)
class Layout(Generic[C]):
    """One family's checkpoints.

    `claims` says whether a parsed config.json is of this layout, `read` makes a configuration of
    it (UsageError where it describes what is not built here) and `build` a model with random
    weights, whose `config.to_dict()` is the file again.  `keys` maps parameters to the weights'
    keys; `chat` says how conversations are written.

    `complete` adds to the configuration what the file leaves to the shapes of the weights (by
    key) and to the caller of `load`.  `computed` gives the parameters, by name, that a checkpoint
    may leave out all together, with their values.
    """

    claims: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], C]
    build: Callable[[C], Flamingo]
    keys: KeyMap
    chat: ChatFormats
    complete: Callable[[C, Mapping[str, Shape], int | None], C] = _as_it_is
    computed: Callable[[C], Mapping[str, Tensor]] = _nothing
