"""What memory a device has left, and what work takes of it.

Knows nothing of what the work is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")


def free_bytes(device: torch.device) -> int:
    """What can still be had on the device, torch's own unused blocks included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    return min([_machine_has(), *container_has()])


def peak(device: torch.device, work: Callable[[], Result]) -> tuple[Result, int | None]:
    """What ``work`` returns, and how many bytes more than before it were in use at its height, by
    whichever thread; ``None`` where the system does not tell."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        return result, torch.cuda.max_memory_allocated(device) - before
    before_kb = _lowered_high_water() if device.type == "cpu" else None
    result = work()
    after_kb = None if before_kb is None else _high_water()
    return result, None if before_kb is None or after_kb is None else 1024 * (after_kb - before_kb)


def _machine_has() -> int:
    """What the system could hand out, files that it merely remembers included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def container_has(group: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What a control group leaves of its limit, if there is one: beyond it a process is ended,
    whatever the machine has."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        parts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return []
    forgettable = int(parts.get("inactive_file", 0))
    return [] if limit == "max" else [int(limit) - used + forgettable]


def _lowered_high_water() -> int | None:
    """Brings the process's high-water mark down to what is in use now; returns that, in kB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or a container that hides it
        return None
    return _high_water()


def _high_water() -> int | None:
    lines = Path("/proc/self/status").read_text().splitlines()
    marks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(marks[0]) if marks else None
