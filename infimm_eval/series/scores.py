"""How far one run lies from another in standard errors: self-normalised, clusters, strata.

Refuses to know when a score is high enough, and which run is which checkpoint.

A sample's change is new minus base.  Changes are added up by cluster (picture), linearised over
strata (Woodruff 1971) and self-normalised, which keeps the tails of the score at or below the
normal's (Efron 1969; Shao 1999).  Assumed: clusters are exchangeable, weights belong to samples,
and there are clusters enough for a central limit theorem.  Within a cluster and between runs any
dependence is allowed.  Legend: ``C`` clusters of the base, ``S`` strata, ``T`` runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from infimm_eval.errors import UsageError
from infimm_eval.stats.clusters import Floats
from infimm_eval.types import Unit

NORMAL = NormalDist()
REACH = NORMAL.inv_cdf(0.975) + NORMAL.inv_cdf(0.8)
"""Standard errors between nought and a drop that a two-sided 5 % test finds in 80 % of runs."""


@dataclass(frozen=True, slots=True)
class Changes:
    """One run against the base, on the samples that both have; rows are the base's clusters."""

    top_CS: Floats
    """Sums of scale x weight x (new - base), by cluster and stratum."""
    bottom_CS: Floats
    """Sums of weights; 0 where the run has no sample of the cluster in the stratum."""
    all_CS: Floats
    """Sums of weights of the base."""
    scale: float

    @property
    def whole_C(self) -> NDArray[np.bool_]:
        """Whether the run has every sample of the cluster that the base has."""
        return np.asarray(np.isclose(self.bottom_CS, self.all_CS, rtol=1e-9).all(1))

    @property
    def asked(self) -> float:
        """The share of the base's clusters that the run has."""
        return float((self.bottom_CS > 0).any(1).mean())


@dataclass(frozen=True, slots=True)
class Difference:
    """New minus base in units of the headline, and what each cluster adds to its error."""

    value: float
    pulls_C: Floats
    """Each cluster's pull on the value; 0 where a cluster was not asked."""
    clusters: float
    """How many equal clusters of one stratum would tell as much (Satterthwaite 1946)."""
    share: float
    """What one cluster can lose: its (average) share of the headline."""

    @property
    def error(self) -> float:
        """Standard error."""
        return math.sqrt(float(self.pulls_C @ self.pulls_C))

    @property
    def detectable(self) -> float:
        """The smallest true drop that one two-sided 5 % test finds in 80 % of repetitions."""
        return detectable(self.error, self.share)

    def drop(self, allowed: float) -> float:
        """Standard errors by which a drop exceeds ``allowed``; against "at most ``allowed``"."""
        return _normalised(-(self.value + allowed), self.error**2, self.clusters)

    def calm(self, worth: float) -> float:
        """Standard errors by which a drop falls short of ``worth``; against "``worth`` or more".

        A drop is made of lost answers, so under it the variance is ``share x worth`` at least:
        samples of which none changed prove little.
        """
        least = self.share * worth
        return _normalised(self.value + worth, max(self.error**2, least), self.clusters)

    def gain(self) -> float:
        """Standard errors by which the run is better; against "it is no better"."""
        return _normalised(self.value, self.error**2, self.clusters)

    def interval(self, threshold: float) -> tuple[float, float]:
        """What scores up to ``threshold`` leave standing (Jennison & Turnbull 1989)."""
        least = max(self.error, threshold * self.share)  # where nothing has changed yet
        left = max(1 - threshold**2 / max(self.clusters, 1.0), 1e-9)
        wide = threshold * least / math.sqrt(left)
        return self.value - wide, self.value + wide

    def minus(self, other: Difference) -> Difference:
        """Against another run over the same clusters instead of against the base."""
        pulls_C = self.pulls_C - other.pulls_C
        return Difference(self.value - other.value, pulls_C, self.clusters, self.share)


def detectable(error: float, share: float) -> float:
    """The same from a standard error and what one cluster can lose: a drop brings variance of its
    own, ``drop = REACH x sqrt(error^2 + share x drop)``."""
    own = REACH**2 * share
    return (own + math.sqrt(own**2 + (2 * REACH * error) ** 2)) / 2


def changes(base: Sequence[Unit], new: Sequence[Unit], scale: float = 100.0) -> Changes:
    """Pair ``new`` with ``base`` unit by unit; clusters are the base's, strata by name.

    ``UsageError`` where nothing pairs, a sample is there twice or weighs differently.
    """
    before = _by_key(base)
    both = [(old, unit) for key, unit in _by_key(new).items() if (old := before.get(key))]
    if not both:
        raise UsageError("the runs have no scored sample in common; run both on the same data")
    for old, unit in both:
        if not math.isclose(old.weight, unit.weight, rel_tol=1e-9):
            raise UsageError(
                f"sample {unit.id!r} weighs {old.weight:g} in one run and {unit.weight:g} in the "
                "other; compare runs of one task version"
            )
    place = _Places(base)
    pairs = [old for old, _ in both]
    moved = [scale * old.weight * (unit.value - old.value) for old, unit in both]
    return Changes(
        top_CS=place.sums(pairs, moved),
        bottom_CS=place.sums(pairs, [old.weight for old in pairs]),
        all_CS=place.sums(base, [old.weight for old in base]),
        scale=scale,
    )


def alone(units: Sequence[Unit], scale: float = 100.0) -> Changes:
    """A run against nought: its difference is its headline, with that headline's error."""
    return changes([replace(unit, value=0.0) for unit in units], units, scale)


def cluster_names(units: Sequence[Unit]) -> list[str]:
    """The clusters of a base in the order of its ``Changes``."""
    return list(dict.fromkeys(map(_cluster, units)))


def difference(run: Changes) -> Difference:
    """One run against the base, over every sample that both have."""
    return _linearised(run.top_CS[None], run.bottom_CS, run.scale)[0]


def differences(runs: Sequence[Changes]) -> list[Difference]:
    """Several runs against the base, over the clusters of which all have every sample.

    A picture that one of them lacks is left out of all: what runs share could not be told else.
    """
    whole_C = np.logical_and.reduce([run.whole_C for run in runs])
    if not whole_C.any():
        raise UsageError("no picture is scored in all checkpoints; finish or leave out those "
                         "that lack most")  # fmt: skip
    tops_TCS = np.stack([run.top_CS * whole_C[:, None] for run in runs])
    return _linearised(tops_TCS, runs[0].bottom_CS * whole_C[:, None], runs[0].scale)


def blocks(bottom_CS: Floats) -> list[NDArray[np.intp]]:
    """Clusters asked that lie in the same strata; those alone with theirs make one block."""
    present_CS = bottom_CS > 0
    asked = np.flatnonzero(present_CS.any(1))
    kind_C = np.zeros(len(asked), np.int64)
    for start in range(0, present_CS.shape[1], 32):
        part = present_CS[asked, start : start + 32]
        bits = (kind_C << 32) + part @ (1 << np.arange(part.shape[1], dtype=np.int64))
        kind_C = np.unique(bits, return_inverse=True)[1].reshape(-1)
    order = np.argsort(kind_C, kind="stable")
    ends = np.flatnonzero(np.diff(kind_C[order])) + 1
    kinds = np.split(asked[order], ends) if len(asked) else []
    lonely = [rows for rows in kinds if len(rows) == 1]
    together = [np.concatenate(lonely)] if lonely else []
    return [rows for rows in kinds if len(rows) > 1] + together


def _linearised(tops_TCS: Floats, bottom_CS: Floats, scale: float) -> list[Difference]:
    """Pulls are centred among clusters that lie in the same strata, as stratified sampling has
    it."""
    total_S = bottom_CS.sum(0)
    if (total_S <= 0).any():
        raise UsageError("a sub-task has no sample that the runs have in common")
    mean_TS = tops_TCS.sum(1) / total_S
    pulls_TC = (tops_TCS / total_S).sum(2) - mean_TS @ (bottom_CS / total_S).T
    doubt_T = np.zeros(len(pulls_TC))
    for rows in blocks(bottom_CS):
        spread_TC = pulls_TC[:, rows] - pulls_TC[:, rows].mean(1, keepdims=True)
        pulls_TC[:, rows] = spread_TC * math.sqrt(len(rows) / max(1, len(rows) - 1))
        doubt_T += (pulls_TC[:, rows] ** 2).sum(1) ** 2 / len(rows)
    square_T = (pulls_TC**2).sum(1)
    all_T = np.full_like(doubt_T, float((bottom_CS > 0).any(1).sum()))
    clusters_T = np.divide(square_T**2, doubt_T, out=all_T, where=doubt_T > 0)
    weight_C = (bottom_CS / total_S).sum(1)
    share = scale * float((weight_C**2).sum() / weight_C.sum())
    parts = zip(mean_TS.sum(1).tolist(), pulls_TC, clusters_T.tolist(), strict=True)
    return [Difference(value, pulls_C, clusters, share) for value, pulls_C, clusters in parts]


def _normalised(gap: float, variance: float, clusters: float) -> float:
    """``gap`` over its error as it would be around nought: never above sqrt(clusters)."""
    whole = variance + gap * gap / clusters
    return gap / math.sqrt(whole) if whole > 0 else 0.0


class _Places:
    """Where units stand in tables of clusters, in the order of a run, and strata, by name."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self._clusters = {name: at for at, name in enumerate(cluster_names(units))}
        self._strata = {name: at for at, name in enumerate(sorted({u.stratum for u in units}))}

    def sums(self, units: Sequence[Unit], amounts: Sequence[float]) -> Floats:
        """[clusters, strata]"""
        wide = len(self._strata)
        places = [self._clusters[_cluster(u)] * wide + self._strata[u.stratum] for u in units]
        size = wide * len(self._clusters)
        sums: Floats = np.bincount(np.array(places, np.intp), amounts, size).astype(np.float64)
        return sums.reshape(-1, wide)


def _by_key(units: Sequence[Unit]) -> dict[tuple[str, str], Unit]:
    found = {(unit.stratum, unit.id): unit for unit in units}
    if len(found) < len(units):
        raise UsageError("a run has two scores for one sample; its results cannot be compared")
    return found


def _cluster(unit: Unit) -> str:
    """A unit that names no cluster stands alone."""
    return unit.cluster or f"\0{unit.id}"
