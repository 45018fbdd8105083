"""How much fits at once: batches by room, and smaller ones when memory gives out.

Knows nothing of what is computed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
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
        clear_up(error, "a batch of one" if tried == 1 else None)
        self.size = max(1, tried // 2)
        self.statistics.count("oom_halvings")


def clear_up(error: RuntimeError, least: str | None) -> None:
    """After a lack of memory, before less of it is asked for.  Raises what is none, and
    ``MachineryError`` where no less can be asked for than ``least``, which did not fit."""
    if not out_of_memory(error):
        raise error
    if least is not None:
        reason = str(error).strip().split("\n")[0]
        raise MachineryError(f"{least} does not fit into memory ({reason})") from error
    # The failed attempt's tensors live in its frames until the traceback is gone.
    error.__traceback__ = None
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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


def peak(device: torch.device, work: Callable[[], Result]) -> tuple[Result, int | None]:
    """What ``work`` returns, and how many bytes more than before it were in use at its height;
    ``None`` on a processor whose system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        return result, torch.cuda.max_memory_allocated(device) - before
    before_kb = _lowered_high_water()
    result = work()
    return result, None if before_kb is None else 1024 * (_high_water() - before_kb)


def _lowered_high_water() -> int | None:
    """Brings the process's high-water mark down to what is in use now; returns that, in kB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _high_water()
    except OSError:  # not Linux, or a container that hides it
        return None


def _high_water() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
