"""Prefetch: the next few items are prepared by threads while the model computes.

Knows nothing of what the work is.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

PATIENCE = 0.0005
"""Seconds for which a thread that prepares may hold up one that gives work to an accelerator, which
lets go of the interpreter at every kernel; Python's own are ten times as many."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int, depth: int
) -> Generator[Result]:
    """``map(work, items)``, in order, at most ``depth`` items ahead of the consumer.

    What ``work`` raises comes out in its turn.  Leaving the iterator early drops what waits.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    waiting: deque[Future[Result]] = deque()
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, PATIENCE))
    try:
        for item in source:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        sys.setswitchinterval(usual)
        pool.shutdown(cancel_futures=True)
