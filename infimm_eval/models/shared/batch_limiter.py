"""Batch limits: how much is computed at once, and less of it from now on when memory gives out.

Knows nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import torch

from infimm_eval.errors import MachineryError
from infimm_eval.models.shared.statistics import Statistics

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchLimiter(Generic[Item]):
    """How many items a computation takes at once: at most ``size``, which is halved, for good,
    when memory gives out.

    Where not even one item fits, ``give_way`` is asked to free what can be done without; it says
    whether it did.
    """

    measured = True
    """Whether the size is known to be right, so that work may be begun that keeps its rows."""

    def __init__(
        self, size: int, statistics: Statistics, give_way: Callable[[], bool] = lambda: False
    ) -> None:
        self.size = self.most = size
        self.statistics = statistics
        self._give_way = give_way

    def fits(self, items: Sequence[Item]) -> int:
        """How many of the items, which come largest first, are taken at once."""
        return self.size

    def run(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> Iterator[Result]:
        """``compute`` on as many items at a time as there is room for, results in order.

        ``oom_halvings`` counts.  ``MachineryError`` where even one item does not fit.
        """
        start = 0
        while start < len(items):
            left = items[start:]
            part = left[: self.fits(left)]
            done = self._attempt(part, compute)
            if done is not None:
                start += len(part)
                yield from done

    def shrink(self, tried: Sequence[Item], error: RuntimeError) -> None:
        """Fewer than were tried from now on; raises what is no lack of memory, and
        ``MachineryError`` where nothing is left to do without."""
        require_memory(error)
        release(error)
        if len(tried) > 1:
            self._take_at_most(len(tried) // 2, tried)
        elif not self._give_way():
            raise too_large("a batch of one", error) from error
        self.statistics.count("oom_halvings")

    def _take_at_most(self, count: int, items: Sequence[Item]) -> None:
        """So many such items at once."""
        self.size = count

    def _attempt(
        self, part: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> list[Result] | None:
        try:
            return compute(part)
        except RuntimeError as error:
            self.shrink(part, error)
        return None


def require_memory(error: RuntimeError) -> None:
    """Raises the error unless it says that memory gave out."""
    if not lacks_memory(error):
        raise error


def lacks_memory(error: Exception) -> bool:
    """Accelerators have a type for it, processors say it in words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def release(error: RuntimeError) -> None:
    """Frees what the failed attempt held: its tensors live in its frames until the traceback is
    gone."""
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def too_large(what: str, error: RuntimeError) -> MachineryError:
    """The error of a run that can do with no less."""
    reason = str(error).strip().split("\n")[0]
    return MachineryError(f"{what} does not fit into memory ({reason})")
