"""What becomes of single figures once there are several: Holm's correction, runs over seeds.

Knows nothing of where the figures come from.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from infimm_eval.types import Unit


def holm(ps: Sequence[float]) -> list[float]:
    """P-values of one table, adjusted so that any of them below 5 % errs in 5 % of tables.

    Holm (1979): valid however the tests depend on each other.  In the order given.
    """
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted


def over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; a single seed has no deviation."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def averaged(runs: Sequence[Sequence[Unit]]) -> list[Unit]:
    """The units that every seed has, each with its mean score."""
    if len(runs) == 1:
        return list(runs[0])
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for units in runs:
        for unit in units:
            values[unit.stratum, unit.id].append(unit.value)
    return [
        replace(unit, value=statistics.fmean(values[unit.stratum, unit.id]))
        for unit in runs[0]
        if len(values[unit.stratum, unit.id]) == len(runs)
    ]
