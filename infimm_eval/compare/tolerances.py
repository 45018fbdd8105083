"""How large a drop is allowed: from the command line, from a TOML file.

Refuses to know what was measured.

    default = "1%"        # of the base's value

    [tasks]
    coco = 2.5            # in the units of the headline
    "vqav2@4" = "0.5%"    # at four shots alone
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import whole_number
from infimm_eval.errors import UsageError, unknown
from infimm_eval.registry import plain


@dataclass(frozen=True, slots=True)
class Tolerance:
    """An allowed drop: so many points, or a share of the base's value."""

    amount: float
    relative: bool = False

    def drop(self, base: float) -> float:
        """In the units of the headline."""
        return self.amount * abs(base) if self.relative else self.amount

    def __str__(self) -> str:
        return f"{100 * self.amount:g}%" if self.relative else f"{self.amount:g}"


NOTHING = Tolerance(0.0)
SETTINGS = ("default", "tasks", "tiers", "required", "pooled")


@dataclass(frozen=True, slots=True)
class Tolerances:
    """The allowed drop for every task, by its plain name.  The most particular wins: task and
    shots, task, default."""

    default: Tolerance = NOTHING
    tasks: Mapping[str, Tolerance] = field(default_factory=dict)

    def of(self, task: str, shots: int) -> Tolerance:
        """What is allowed of a task at so many shots."""
        name = plain(task)
        return self.tasks.get(f"{name}@{shots}", self.tasks.get(name, self.default))

    def updated(self, other: Iterable[str], what: str = "tolerance") -> Tolerances:
        """With settings from the command line: ``1.5``, ``2%``, ``coco=2``, ``coco@4=0.5%``.

        ``what`` they are called in the line that refuses one."""
        default, tasks = self.default, dict(self.tasks)
        for text in other:
            name, separator, amount = text.rpartition("=")
            if separator:
                tasks[_name(name, text, what)] = tolerance(amount, text, what)
            else:
                default = tolerance(text, text, what)
        return Tolerances(default, tasks)


def read_settings(path: Path) -> dict[str, Any]:
    """A gate's TOML file: tolerances, and what ``policy`` reads of it.  ``UsageError`` where it
    cannot be read or has a setting that nobody knows."""
    try:
        body = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} is not a readable TOML file ({error})") from error
    for name in body:
        if name not in SETTINGS:
            raise unknown(f"setting in {path}", name, SETTINGS)
    return body


def read_tolerances(path: Path) -> Tolerances:
    """Read a TOML file.  ``UsageError`` where it cannot be read or says something else."""
    body = read_settings(path)
    tasks = body.get("tasks", {})
    if not isinstance(tasks, dict):
        raise UsageError(f"{path}: tasks should be a table such as [tasks] coco = 1.5")
    return Tolerances(
        tolerance(body.get("default", 0), f"{path}: default"),
        {_name(name, str(path)): tolerance(v, f"{path}: {name}") for name, v in tasks.items()},
    )


def tolerance(given: Any, where: str, what: str = "tolerance") -> Tolerance:
    """``1.5`` or ``"1.5"`` points; ``"2%"`` of the base.  Never negative."""
    text = str(given).strip()
    relative = text.endswith("%")
    try:
        amount = float(text.removesuffix("%"))
    except ValueError:
        amount = math.nan
    if isinstance(given, bool) or not math.isfinite(amount) or amount < 0:
        raise UsageError(f"{what} {where!r}: expected points (1.5) or a share of the base (2%)")
    return Tolerance(amount / 100, True) if relative else Tolerance(amount)


def name_of_task(name: str, where: str, what: str, form: str) -> str:
    """``coco`` or ``coco@4`` as settings are kept under; ``UsageError`` for what is neither."""
    task, at, shots = name.strip().partition("@")
    count = whole_number(shots)
    if not task or (at and count is None):
        raise UsageError(f"{what} {where!r}: expected {form}, with or without @SHOTS")
    return plain(task) + (f"@{count}" if at else "")


def _name(name: str, where: str, what: str = "tolerance") -> str:
    return name_of_task(name, where, what, "TASK=1.5 or TASK=2%")
