"""Counts and seconds of one model's work.  Judges nothing and prints nothing."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter

import torch


class Statistics:
    """``count`` from any thread; the rest from the one that drives the model.

    On an accelerator work is queued, and what its stages took is read from the accelerator's own
    clock once they are over.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._numbers: Counter[str] = Counter()
        self._lock = Lock()
        self._queued: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()
        self._device = device if device is not None and device.type == "cuda" else None

    def count(self, what: str, n: int = 1) -> None:
        """``n`` more of ``what``."""
        with self._lock:
            self._numbers[what] += n

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time that the device took to ``seconds_<name>``; stages do not nest."""
        if self._device is None:
            with self.waiting(name):
                yield
            return
        begin, end = _event(), _event()
        stream = torch.cuda.current_stream(self._device)
        begin.record(stream)
        try:
            yield
        finally:
            end.record(stream)
            self._queued.append((name, begin, end))
            while self._queued and _over(self._queued[0][2]):
                self._add(*self._queued.popleft())

    @contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """Adds the time that passes here.  ``seconds_idle`` is that in which prompts and pictures
        were waited for: divided by all seconds, the idle share."""
        started = perf_counter()
        try:
            yield
        finally:
            self._seconds(name, perf_counter() - started)

    def __getitem__(self, what: str) -> float:
        return self._numbers[what]

    def report(self) -> dict[str, float]:
        """Everything so far.  All numbers only grow, so that differences mean something."""
        while self._queued:
            self._queued[0][2].synchronize()
            self._add(*self._queued.popleft())
        with self._lock:
            return {name: round(value, 4) for name, value in sorted(self._numbers.items())}

    def _add(self, name: str, begin: torch.cuda.Event, end: torch.cuda.Event) -> None:
        self._seconds(name, begin.elapsed_time(end) / 1000)

    def _seconds(self, name: str, seconds: float) -> None:
        with self._lock:
            self._numbers[f"seconds_{name}"] += seconds  # type: ignore[assignment]


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _over(event: torch.cuda.Event) -> bool:
    return bool(event.query())  # type: ignore[no-untyped-call]
