"""The KV cache of a batch: rows that begin alike, join it and leave it, with room for answers.

Knows the library's class of caches; which rows stand in one is not its business.

Shapes: R rows, H heads, L places, d width of a head.  A row ends at the last place; what is left of
its first token is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

ROOM = 32
"""Places that are kept free for tokens to come, so that not every one of them moves all others."""

_library: Any = import_module("transformers.cache_utils")


class RoomyLayer(_library.DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer, as views of memory in which more have room."""

    _layer_type = None  # else the library would take it for its own kind

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys: Tensor
        self.values: Tensor
        self._rooms: list[Tensor | None] = [None, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Keys and values (R, H, L, d) with the new ones at their end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held = self.get_seq_length()
        self.keys = self._with(0, held, key_states)
        self.values = self._with(1, held, value_states)
        return self.keys, self.values

    def fill(self, keys: Tensor, values: Tensor) -> None:
        """Takes over memory (R, H, L + ROOM, d), of which all but ``ROOM`` places are filled."""
        self.lazy_initialization(keys, values)
        self._rooms = [keys, values]
        self.keys, self.values = keys[..., :-ROOM, :], values[..., :-ROOM, :]

    def _with(self, which: int, held: int, new: Tensor) -> Tensor:
        room, needed = self._rooms[which], held + new.shape[-2]
        if room is None or room.shape[-2] < needed:
            wider = new.new_empty(*new.shape[:2], needed + ROOM, new.shape[-1])
            if room is not None:
                wider[..., :held, :] = room[..., :held, :]
            self._rooms[which] = room = wider
        room[..., held:needed, :] = new
        return room[..., :needed, :]


def new_cache() -> Any:
    """An empty one of the library's, to which a model adds its layers."""
    return _library.Cache(layer_class_to_replicate=RoomyLayer)


def size_of(cache: Any) -> int:
    """The bytes of its keys and values."""
    return sum(int(layer.keys.nbytes + layer.values.nbytes) for layer in cache.layers)


def gathered(parts: Sequence[tuple[Any, Sequence[int]]], places: int) -> Any:
    """The named rows of several caches one below another, each with its last ``places``."""
    cache = new_cache()
    for layers in zip(*(part.layers for part, _ in parts), strict=True):
        made = RoomyLayer()
        rows = [chosen for _, chosen in parts]
        made.fill(
            _below([layer.keys for layer in layers], rows, places),
            _below([layer.values for layer in layers], rows, places),
        )
        cache.layers.append(made)
    return cache


def _below(held: Sequence[Tensor], rows: Sequence[Sequence[int]], places: int) -> Tensor:
    _, heads, _, width = held[0].shape
    below = held[0].new_zeros(sum(map(len, rows)), heads, places + ROOM, width)
    start = 0
    for tensor, chosen in zip(held, rows, strict=True):
        length = min(places, tensor.shape[-2])
        some = tensor[..., tensor.shape[-2] - length :, :]
        # One row stands for all copies of itself; all rows in their order need no copy either.
        if len(some) > 1 and list(chosen) != list(range(len(some))):
            some = some[list(chosen)]
        below[start : start + len(chosen), :, places - length : places] = some
        start += len(chosen)
    return below
