"""How much fits at once: batches by room, and smaller ones when memory gives out.

Knows nothing of what is computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from infimm_eval.errors import MachineryError
from infimm_eval.models.engine.statistics import Statistics

Item = TypeVar("Item")
Result = TypeVar("Result")


class Room:
    """How many items a computation takes at once; halved, for good, when memory gives out."""

    def __init__(self, size: int, statistics: Statistics) -> None:
        self.size = size
        self.statistics = statistics

    def run(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> Iterator[Result]:
        """``compute`` on as many items at a time as there is room for, results in order.

        ``oom_halvings`` counts.  ``MachineryError`` where even one item does not fit.
        """
        start = 0
        while start < len(items):
            part = items[start : start + self.size]
            done = self._attempt(part, compute)
            if done is not None:
                start += len(part)
                yield from done

    def _attempt(
        self, part: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> list[Result] | None:
        try:
            return compute(part)
        except RuntimeError as error:
            self.shrink(len(part), error)
        return None

    def shrink(self, tried: int, error: RuntimeError) -> None:
        """Half of what was tried from now on; raises what is no lack of memory, and
        ``MachineryError`` where it was one item."""
        if not out_of_memory(error):
            raise error
        if tried == 1:
            reason = str(error).strip().split("\n")[0]
            raise MachineryError(f"a batch of one does not fit into memory ({reason})") from error
        # The failed attempt's tensors live in its frames until the traceback is gone.
        error.__traceback__ = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.size = max(1, tried // 2)
        self.statistics.count("oom_halvings")


def out_of_memory(error: BaseException) -> bool:
    """Accelerators have a type for it; processors say it in words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_bytes(device: torch.device) -> int:
    """What can still be had on the device, torch's own unused blocks included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def rows_that_fit(bytes_per_row: int, device: torch.device, *, most: int) -> int:
    """Half of the free memory, at least one row and at most ``most``."""
    return max(1, min(most, free_bytes(device) // 2 // max(1, bytes_per_row)))
