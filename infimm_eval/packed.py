"""Long sequences of small values in little memory.  Knows nothing of what they mean."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import chain, starmap
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_TOGETHER = 1024
"""So many are packed at once: enough that most of what they share is said once."""


class Packed(Sequence[T]):
    """Values of one dataclass (of two fields or more), which can be added to and read.

    They are kept as compressed rows, ten or twenty bytes each where the objects would be
    hundreds, and made anew whenever they are read, at about a microsecond each.
    """

    def __init__(self, kind: type[T], values: Iterable[T] = ()) -> None:
        self._kind = kind
        self._row = attrgetter(*(field.name for field in fields(kind)))
        self._packs: list[bytes] = []
        self._loose: list[Any] = []
        self._unpacked: tuple[int, list[Any]] = (-1, [])
        for value in values:
            self.append(value)

    def append(self, value: T) -> None:
        """Add a value at the end."""
        self._loose.append(self._row(value))
        if len(self._loose) == _TOGETHER:
            self._packs.append(zlib.compress(pickle.dumps(self._loose), 1))
            self._loose = []

    def __len__(self) -> int:
        return len(self._packs) * _TOGETHER + len(self._loose)

    def __iter__(self) -> Iterator[T]:
        rows = map(self._rows, range(len(self._packs) + 1))
        return starmap(self._kind, chain.from_iterable(rows))

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        number, place = divmod(range(len(self))[at], _TOGETHER)
        if self._unpacked[0] != number:  # neighbours are often asked for one after the other
            self._unpacked = (number, self._rows(number))
        return self._kind(*self._unpacked[1][place])

    def _rows(self, number: int) -> list[Any]:
        if number == len(self._packs):
            return self._loose
        rows: list[Any] = pickle.loads(zlib.decompress(self._packs[number]))
        return rows
