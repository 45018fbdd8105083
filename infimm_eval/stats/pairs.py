"""Two runs on the same samples: how far apart, how surely, and what would have been seen.

Refuses to know which of the differences matters to anybody: tolerances belong to the gate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from infimm_eval.errors import UsageError
from infimm_eval.stats.clusters import CELLS_AT_ONCE, Floats, gather
from infimm_eval.types import Unit

CONFIDENCE, POWER = 0.95, 0.8
REACH = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) + NormalDist().inv_cdf(POWER)
"""How many standard errors away a true difference must lie to be found that often."""

ENUMERABLE = 14
"""Up to 2**14 sign patterns are gone through one by one."""


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus base, in the units of the headline, over the samples both runs have."""

    value: float
    interval: tuple[float, float]
    """95 %, by bootstrap over clusters of pairs."""
    p: float
    """Two-sided: how often swapping base and new at random, cluster by cluster, gives as much."""
    n: int
    """Pairs of units."""
    error: float
    """Standard error."""
    share: float
    """What one cluster can lose: its (average) share of the headline."""
    draws: Floats = field(repr=False, compare=False)
    """Resampled differences, sorted."""

    @property
    def detectable(self) -> float:
        """The smallest true drop that would be found, at 5 %, in 80 % of repetitions.

        A drop is made of lost answers and so brings variance of its own: ``drop`` solves
        ``drop = REACH x sqrt(error^2 + share x drop)``.  Where nothing changed this is about
        eight answers, of which six lost and none won are the least that an exact test can tell
        from chance.
        """
        own = REACH**2 * self.share
        return (own + math.sqrt(own**2 + (2 * REACH * self.error) ** 2)) / 2

    def beyond(self, drop: float) -> float:
        """The p-value against "the true drop is at most ``drop``" (0 or more), two-sided in size.

        As large as both the swapping test's and the bootstrap's, so that the former's exactness
        holds for small samples and the latter's for an allowed drop.
        """
        if self.value >= -drop:
            return 1.0
        as_high = len(self.draws) - int(np.searchsorted(self.draws, -drop, side="left"))
        return min(1.0, max(self.p, 2 * (as_high + 1) / (len(self.draws) + 1)))

    def growth(self, drop: float) -> float:
        """How many times as many samples it takes to see a true drop of ``drop``; 1 or more."""
        if drop <= 0:
            return math.inf
        return max(1.0, REACH**2 * (self.error**2 + self.share * drop) / drop**2)


def paired(
    base: Sequence[Unit],
    new: Sequence[Unit],
    scale: float = 100.0,
    *,
    resamples: int = 4000,
    seed: int = 0,
) -> Difference:
    """Compare two runs unit by unit; units that only one of them has are left out.

    Weights belong to samples, so the difference of two headlines is a headline of differences and
    everything said of one holds for the other.  Clusters are the new run's.  Raises
    ``UsageError`` where nothing pairs, an id appears twice, or a sample's weight has changed.
    """
    changes = _changes(base, new)
    clusters = gather(changes)
    value = float(clusters.means_S.sum())
    share_C = (clusters.top_CS / clusters.bottom_CS.sum(0)).sum(1)
    draws = np.sort(clusters.resampled(resamples, seed))
    if len(draws) < resamples / 2:
        # Strata that hang on a picture each cannot be resampled; what swapping does to the sum
        # is as wide as chance alone makes it, or wider.
        luck = np.random.default_rng(seed).standard_normal(resamples)
        draws = np.sort(value + math.sqrt(float((share_C**2).sum())) * luck)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    weight_C = (clusters.bottom_CS / clusters.bottom_CS.sum(0)).sum(1)
    return Difference(
        value=scale * value,
        interval=(scale * float(low), scale * float(high)),
        p=swapping_p(share_C, resamples, seed),
        n=len(changes),
        error=scale * float(draws.std()),
        share=scale * float((weight_C**2).sum() / weight_C.sum()),
        draws=scale * draws,
    )


def swapping_p(share_C: Floats, resamples: int, seed: int) -> float:
    """Two-sided p of a sum whose terms could as well have had the other sign.

    Exact where all terms are of one size (McNemar's test as a binomial) or there are few;
    otherwise sampled, counting the observed signs as one sample (Phipson & Smyth 2010).
    """
    observed = abs(float(share_C.sum()))
    largest = float(np.abs(share_C).max(initial=0.0))
    if largest < 1e-12:
        return 1.0
    changed_C = share_C[np.abs(share_C) > largest * 1e-9]
    size_K, count_K = np.unique((np.abs(changed_C) / largest).round(9), return_counts=True)
    reached = observed / largest - 1e-6
    if len(size_K) == 1:
        return _binomial_p(int((changed_C > 0).sum()), len(changed_C))
    if len(changed_C) <= ENUMERABLE:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(changed_C))))
        return float((np.abs(signs @ (changed_C / largest)) >= reached).mean())
    rng = np.random.default_rng(seed)
    hits = 0
    single_K = count_K == 1
    step = max(1, CELLS_AT_ONCE // len(size_K))
    for start in range(0, resamples, step):
        shape = (min(step, resamples - start), len(size_K))
        kept = np.empty(shape)
        kept[:, ~single_K] = rng.binomial(count_K[~single_K], 0.5, (shape[0], (~single_K).sum()))
        kept[:, single_K] = rng.integers(0, 2, (shape[0], single_K.sum()), dtype=np.int8)
        sums = kept @ (2 * size_K) - count_K @ size_K
        hits += int((np.abs(sums) >= reached).sum())
    return (hits + 1) / (resamples + 1)


def _binomial_p(successes: int, trials: int) -> float:
    """Two-sided exact test of a fair coin."""
    fewer = min(successes, trials - successes)
    i = np.arange(1, fewer + 1)
    log_pmf = np.concatenate([[0.0], np.cumsum(np.log((trials - i + 1) / i))])
    return min(1.0, 2 * float(np.exp(log_pmf - trials * math.log(2)).sum()))


def _changes(base: Sequence[Unit], new: Sequence[Unit]) -> list[Unit]:
    before = {(u.stratum, u.id): u for u in base}
    after = {(u.stratum, u.id): u for u in new}
    if len(before) < len(base) or len(after) < len(new):
        raise UsageError("a run has two scores for one sample; its results cannot be compared")
    changes = []
    for key, unit in after.items():
        if (old := before.get(key)) is None:
            continue
        if not math.isclose(old.weight, unit.weight, rel_tol=1e-9):
            raise UsageError(
                f"sample {unit.id!r} weighs {old.weight:g} in one run and {unit.weight:g} in the "
                "other; compare runs of one task version"
            )
        change = unit.value - old.value
        changes.append(Unit(unit.id, unit.cluster, change, unit.weight, unit.stratum))
    if not changes:
        raise UsageError("the two runs have no scored sample in common; run both on the same data")
    return changes
