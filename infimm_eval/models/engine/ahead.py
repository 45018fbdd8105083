"""Work done beside the model: the next few items are prepared by threads while it computes.

Knows nothing of what the work is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int, depth: int
) -> Generator[Result]:
    """``map(work, items)``, in order, at most ``depth`` items ahead of the consumer.

    What ``work`` raises comes out in its turn.  Leaving the iterator early drops what waits.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in source:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
