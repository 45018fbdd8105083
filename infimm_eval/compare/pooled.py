"""All benchmarks tested together: small drops in many that none of them shows alone.

Refuses to know which rows are to be pooled, and what follows from it.

Each row's drop beyond the allowed one is taken in its own standard errors, and these are added up.
Rows may share pictures (one benchmark at several shots, several benchmarks of one data set): what
a picture does to all of them counts as one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from infimm_eval.series.scores import changes, cluster_names, difference
from infimm_eval.types import Unit


@dataclass(frozen=True, slots=True)
class Evidence:
    """One row: its units in both runs, and the drop that is allowed."""

    base: Sequence[Unit]
    new: Sequence[Unit]
    scale: float
    allowed: float


@dataclass(frozen=True, slots=True)
class Pooled:
    """What all rows say together."""

    rows: int
    score: float
    """Standard errors by which they fell beyond the allowed drops; negative where they did not."""
    p: float
    """Against "none fell by more than is allowed", two-sided in size."""


def pooled(evidence: Sequence[Evidence]) -> Pooled:
    """Test rows together; a row of which no sample changed says nothing.

    Where a drop is allowed, a row's error is at least what losses of that size would bring: else
    a row in which next to nothing changed would outweigh all others.
    """
    gap, pull_of, doubt, rows = 0.0, defaultdict[str, float](float), 0.0, 0
    for row in evidence:
        found = difference(changes(row.base, row.new, row.scale))
        error = max(found.error, math.sqrt(found.share * row.allowed))
        if not found.error:
            continue
        rows += 1
        gap -= (found.value + row.allowed) / error
        doubt += 1 / found.clusters
        for name, pull in zip(cluster_names(row.base), found.pulls_C.tolist(), strict=True):
            pull_of[name] += pull / error
    if not rows:
        return Pooled(0, 0.0, 1.0)
    variance = math.fsum(pull * pull for pull in pull_of.values())
    clusters = min(rows**2 / doubt, len(pull_of))
    score = gap / math.sqrt(variance + gap * gap / clusters)
    return Pooled(rows, score, min(1.0, 2 * NormalDist().cdf(-score)))
