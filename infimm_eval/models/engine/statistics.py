"""Counts and seconds of one model's work.  Judges nothing and prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter


class Statistics:
    """``count`` from any thread; ``stage`` from the one that drives the model.

    On an accelerator work is queued, and a stage ends when its work is handed over, so seconds
    gather where a result is waited for: in ``decode``.
    """

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()
        self._lock = Lock()

    def count(self, what: str, n: int = 1) -> None:
        with self._lock:
            self._numbers[what] += n

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds to ``seconds_<name>``; stages do not nest.  ``seconds_idle`` is the time in which
        the model waited for prompts and pictures: divided by all seconds, the idle share."""
        started = perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._numbers[f"seconds_{name}"] += perf_counter() - started  # type: ignore[assignment]

    def __getitem__(self, what: str) -> float:
        return self._numbers[what]

    def report(self) -> dict[str, float]:
        """Everything so far.  All numbers only grow, so that differences mean something."""
        with self._lock:
            return {name: round(value, 4) for name, value in sorted(self._numbers.items())}
