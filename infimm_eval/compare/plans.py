"""How many samples of every benchmark it takes to see a drop, and how long asking them takes.

Refuses to know files; the arithmetic is ``series.planning``'s.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from infimm_eval import stats
from infimm_eval.compare.cells import Cell
from infimm_eval.compare.tolerances import Tolerances
from infimm_eval.compare.verdicts import disagreements, name_of
from infimm_eval.errors import UsageError
from infimm_eval.series.planning import Plan, plan
from infimm_eval.types import Unit

Seconds = Callable[[Cell], float | None]
"""What asking a cell took, where anybody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One task at one number of shots."""

    name: str
    task: str
    shots: int
    value: float
    drop: float
    """In points of the headline."""
    power: float
    n: int
    """Samples of the pilot."""
    plan: Plan
    each: float | None
    """Seconds that a sample took."""
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[int, int | None, int]:
        """At least, the estimate if there is one, at most."""
        low, high = self._samples(self.plan.low), self._samples(self.plan.high)
        middle = self.plan.clusters
        return low, None if middle is None else self._samples(middle), high

    @property
    def seconds(self) -> tuple[float, float | None, float] | None:
        """What these would take."""
        if self.each is None:
            return None
        low, middle, high = self.samples
        return self.each * low, None if middle is None else self.each * middle, self.each * high

    def _samples(self, clusters: int) -> int:
        return math.ceil(clusters * self.n / self.plan.of)


def plans(
    base: Sequence[Cell],
    second: Sequence[Cell] | None,
    drops: Tolerances,
    *,
    power: float = 0.9,
    seconds: Seconds = lambda cell: None,
) -> list[Planned]:
    """A plan for every plain cell of ``base``, with the same cell of ``second`` as its pair.

    Several seeds are averaged sample by sample.  Raises ``UsageError`` where there is nothing to
    plan from: no scored cell, no drop for one, nothing in common.
    """
    bases = _rows(base)
    pairs = _rows(second) if second is not None else {}
    if second is not None and not set(bases) & set(pairs):
        raise UsageError("the two runs have no task at the same shots in common; plan from one, "
                         "or from two that were asked the same")  # fmt: skip
    chosen = bases if second is None else {key: bases[key] for key in bases if key in pairs}
    if not chosen:
        raise UsageError("there is no scored figure to plan from; run it to the end first")
    return [_planned(cells, pairs.get(key), drops, power, seconds)
            for key, cells in chosen.items()]  # fmt: skip


def sentence(row: Planned) -> str:
    """One row in words."""
    said = f"{row.name}: {_amount(row)}; a drop of {row.drop:.2f} from {row.value:.2f} is seen "
    said += f"in {100 * row.power:g} of 100 runs"
    low, middle, _ = row.samples
    if (middle or low) > row.n:
        said += f"; the run has {row.n:,}"
    return "; ".join([said, *row.notes])


def as_json(rows: Sequence[Planned]) -> list[dict[str, Any]]:
    """Everything, as a value that is JSON."""
    return [
        {
            "task": row.task,
            "shots": row.shots,
            "value": row.value,
            "drop": row.drop,
            "power": row.power,
            "n": row.n,
            "samples": dict(zip(("low", "estimate", "high"), row.samples, strict=True)),
            "seconds": row.seconds and dict(
                zip(("low", "estimate", "high"), row.seconds, strict=True)
            ),
            "sure": row.plan.sure,
            "notes": list(row.notes),
        }
        for row in rows
    ]  # fmt: skip


def _rows(cells: Sequence[Cell]) -> dict[tuple[str, int, str], list[Cell]]:
    """Plain cells with units, by task, shots and support: its seeds."""
    rows: dict[tuple[str, int, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        if not cell.control and cell.units and cell.value is not None:
            rows[cell.task, cell.shots, cell.support or ""].append(cell)
    return dict(rows)


def _planned(
    cells: Sequence[Cell],
    pairs: Sequence[Cell] | None,
    drops: Tolerances,
    power: float,
    seconds: Seconds,
) -> Planned:
    first = cells[0]
    name = name_of(first.title, first.shots, first.support)
    value = stats.over_seeds([cell.value or 0.0 for cell in cells])[0]
    drop = drops.of(first.task, first.shots).drop(value)
    if drop <= 0:
        raise UsageError(f"{name}: say how large a drop it should show: --drop {first.task}=POINTS")
    try:
        found = plan(
            _units(cells), _units(pairs) if pairs else None, drop, scale=first.scale, power=power
        )
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    timed = [(known, cell.n) for cell in cells if (known := seconds(cell))]
    return Planned(
        name=name, task=first.task, shots=first.shots, value=value, drop=drop, power=power,
        n=first.n, plan=found,
        each=sum(s for s, _ in timed) / sum(n for _, n in timed) if timed else None,
        notes=tuple(_notes(found, first, pairs)),
    )  # fmt: skip


def _units(cells: Sequence[Cell]) -> Sequence[Unit]:
    return stats.averaged([cell.units for cell in cells])


def _notes(found: Plan, cell: Cell, pairs: Sequence[Cell] | None) -> list[str]:
    """Other prompts or shots make no worse a pilot; another scorer does."""
    notes = [found.reason] if found.reason else []
    differing = disagreements(cell, pairs[0]) if pairs else ()
    if other := [setting for setting in differing if setting.startswith("scorer")]:
        notes.append(f"the two runs were scored differently: {'; '.join(other)}")
    return notes


def _amount(row: Planned) -> str:
    """``1,900 samples (1,600 to 2,200), about 12 min``, or a range alone."""
    low, middle, high = row.samples
    if row.plan.sure and middle is not None:
        said = f"{_round(middle):,} samples ({_round(low):,} to {_round(high):,})"
    else:
        said = f"{_range(f'{_round(low):,}', f'{_round(high):,}')} samples"
    if (spent := row.seconds) is None:
        return said
    if row.plan.sure and spent[1] is not None:
        return f"{said}, about {_time(spent[1])}"
    return f"{said}, about {_range(_time(spent[0]), _time(spent[2]))}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _round(count: int) -> int:
    """Three digits: a plan is no better than that."""
    return int(float(f"{count:.2e}"))


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
