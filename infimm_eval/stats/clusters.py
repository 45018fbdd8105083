"""Units gathered by cluster, and resampled: the one bootstrap behind every interval.

Knows nothing of intervals, tests or runs.  Legend: ``C`` clusters, ``S`` strata, ``R`` resamples.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from infimm_eval.types import Unit

Floats = NDArray[np.float64]

CELLS_AT_ONCE = 2_000_000
"""How many draws are held in memory at a time (16 MB)."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """All that a headline needs of its units: each cluster's share in every stratum."""

    top_CS: Floats
    """Sum of weight x value."""
    bottom_CS: Floats
    """Sum of weights; 0 where the cluster has no unit in the stratum."""

    @property
    def means_S(self) -> Floats:
        """Each stratum's weighted mean."""
        means: Floats = self.top_CS.sum(0) / self.bottom_CS.sum(0)
        return means

    def resampled(self, resamples: int, seed: int) -> Floats:
        """Sums of stratum means, one for each resample in which no stratum came out empty.

        Clusters are drawn with replacement among those that appear in the same strata, so that a
        sub-task keeps its size.  One fewer is drawn than there are, which makes the variance
        unbiased also for a handful of pictures (McCarthy & Snowden 1985; Rao & Wu 1988).  Equal
        clusters are drawn together, as one multinomial count: what makes 214,354 answers of a few
        distinct scores as cheap as a hundred.
        """
        rng = np.random.default_rng(seed)
        strata = self.top_CS.shape[1]
        sums = np.zeros((resamples, 2 * strata))
        for block in self._exchangeable():
            rows, counts = np.unique(block, axis=0, return_counts=True)
            size = int(counts.sum())
            if size == 1:
                sums += rows
                continue
            step = max(1, CELLS_AT_ONCE // min(8 * len(rows), size))
            for start in range(0, resamples, step):
                part = sums[start : start + step]
                part += product(_drawn(rng, counts, len(part)), rows) * (size / (size - 1))
        top, bottom = sums[:, :strata], sums[:, strata:]
        whole = (bottom > 0).all(1)
        totals: Floats = (top[whole] / bottom[whole]).sum(1)
        return totals

    def _exchangeable(self) -> Iterator[Floats]:
        """Clusters (as rows of tops and bottoms) that may stand for each other.

        Those that are alone with their combination of strata make one block; a block of one
        cluster cannot vary.
        """
        # Rounding makes 0.1 + 0.2 and 0.3 one value; adding zero makes -0.0 and 0.0 one.
        rows = np.hstack([self.top_CS, self.bottom_CS]).round(9) + 0.0
        _, kind, sizes = np.unique(
            self.bottom_CS > 0, axis=0, return_inverse=True, return_counts=True
        )
        kind = kind.reshape(-1)
        lonely = sizes[kind] == 1
        for index in np.flatnonzero(sizes > 1):
            yield rows[kind == index]
        if lonely.any():
            yield rows[lonely]


def product(left_RK: Floats, right_KS: Floats) -> Floats:
    """The matrix product, added up in one order: BLAS lets the last digit of an interval depend on
    how many threads there are."""
    made_RS = np.zeros((len(left_RK), right_KS.shape[1]))
    for s in np.flatnonzero(right_KS.any(0)):
        made_RS[:, s] = np.einsum("rk,k->r", left_RK, np.ascontiguousarray(right_KS[:, s]))
    return made_RS


def _drawn(rng: np.random.Generator, counts: NDArray[np.intp], resamples: int) -> Floats:
    """How often each distinct row is drawn, [resamples, rows]; one draw fewer than there are."""
    rows, draws = len(counts), int(counts.sum()) - 1
    if rows < draws / 8:
        return rng.multinomial(draws, counts / (draws + 1), size=resamples).astype(np.float64)
    # The same distribution, faster where hardly two rows are equal: draw one by one, and count.
    which = np.repeat(np.arange(rows), counts)[rng.integers(0, draws + 1, (resamples, draws))]
    which += rows * np.arange(resamples)[:, None]
    drawn = np.bincount(which.ravel(), minlength=resamples * rows)
    return drawn.reshape(resamples, rows).astype(np.float64)


def gather(units: Iterable[Unit]) -> Clusters:
    """Units by cluster; a unit that names no cluster stands alone.  They are read once."""
    cluster_of: dict[str, int] = {}
    tops, bottoms = _Columns(), _Columns()
    for u in units:
        if not (isfinite(u.value) and isfinite(u.weight) and u.weight > 0):
            raise ValueError("units need finite values and positive, finite weights")
        cluster = cluster_of.setdefault(u.cluster or f"\0{u.id}", len(cluster_of))
        tops.add(u.stratum, cluster, u.weight * u.value)
        bottoms.add(u.stratum, cluster, u.weight)
    return Clusters(tops.table(len(cluster_of)), bottoms.table(len(cluster_of)))


class _Columns:
    """Sums by stratum and cluster while nobody knows yet how many there are."""

    def __init__(self) -> None:
        self._sums: dict[str, array[float]] = {}

    def add(self, stratum: str, cluster: int, amount: float) -> None:
        sums = self._sums.setdefault(stratum, array("d"))
        if cluster >= len(sums):
            sums.extend(repeat(0.0, cluster + 1 - len(sums)))
        sums[cluster] += amount

    def table(self, clusters: int) -> Floats:
        """[clusters, strata], strata by name."""
        table_CS = np.zeros((clusters, len(self._sums)))
        for at, (_, sums) in enumerate(sorted(self._sums.items())):
            table_CS[: len(sums), at] = sums
        return table_CS
