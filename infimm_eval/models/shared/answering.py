"""Streams of answers that were begun and not read to their end.

Knows nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar
from weakref import WeakSet

Item = TypeVar("Item")


class Answering:
    """Keeps account of running generators, so that what they hold (threads, caches, memory) can be
    given back while somebody still has them in hand."""

    def __init__(self) -> None:
        self._running: WeakSet[Generator[object]] = WeakSet()

    def begun(self, stream: Generator[Item]) -> Generator[Item]:
        """The same stream, accounted for."""
        self._running.add(stream)
        return stream

    def close(self) -> None:
        """Ends all of them; they give nothing more.  Again is as well as once."""
        for stream in list(self._running):
            stream.close()
        self._running.clear()
