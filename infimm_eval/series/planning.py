"""How many samples it takes to see a drop, from a pilot pair of runs or from a baseline alone.

Refuses to know seconds and files.

The run to come is taken to be the pilot's new run with answers lost at random (after Connor 1987).
Adding the variance of losses to the pilot's instead overstates the need: a lost answer is often
one that had differed before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from infimm_eval.errors import UsageError
from infimm_eval.series.scores import Changes, alone, blocks, detectable, difference, differences
from infimm_eval.stats.clusters import Floats
from infimm_eval.types import Unit

NORMAL = NormalDist()
TWO_SIDED = NORMAL.inv_cdf(0.975)
PRECISE = 0.15
"""An estimate stands alone where nine in ten pilots give it to this share."""
NINE_IN_TEN = NORMAL.inv_cdf(0.95)
FEW = 20
"""Clusters of a sub-task below which neither power nor plans hold."""
AGREEMENTS = (0.2, 0.9)
"""How two runs' headlines correlate over samples: different models agree least; checkpoints of one
training, or one model asked in two ways, most (0.7 and more)."""
FAMILY = 0.7
"""The same, for runs of one family of which no pair is at hand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How many clusters (pictures) show a drop at some power."""

    clusters: int | None
    """The estimate; ``None`` where a baseline alone allows a range only."""
    low: int
    high: int
    """With a pilot, about two standard deviations of the estimate either way; from a baseline
    alone, what agreements of 0.9 and 0.2 between the runs would take."""
    sure: bool
    """Whether the estimate may be given alone: enough answers changed, and there are no
    sub-tasks."""
    reason: str
    """Why not, in words."""
    of: int
    """How many clusters the pilot has."""


def plan(
    base: Sequence[Unit],
    new: Sequence[Unit] | None,
    drop: float,
    *,
    scale: float = 100.0,
    power: float = 0.9,
    threshold: float = TWO_SIDED,
) -> Plan:
    """Clusters that show a true drop of ``drop`` points with probability ``power``.

    ``threshold`` is the test's: 1.96 for one comparison at 5 %, a series' own for a series.
    ``UsageError`` where the drop is no drop, larger than the headline, or nothing can be learned.
    """
    pilot = Pilot.of(base, new, scale)
    if not 0 < drop < pilot.level:
        raise UsageError(
            f"a drop of {drop:g} points: name one between 0 and the headline, {pilot.level:.2f}"
        )
    if not 0.5 <= power < 1:
        raise UsageError(f"a power of {power:g}: name a share from 0.5 to below 1, such as 0.9")
    if new is None:
        low, high = (pilot.needed(drop, threshold, power, a) for a in reversed(AGREEMENTS))
        reason = "a baseline alone does not tell how far the next run will agree with it"
        return Plan(None, low, high, False, reason, pilot.clusters)
    low, middle, high = pilot.range(drop, threshold, power)
    reason = pilot.trouble(drop)
    return Plan(middle, low, high, not reason, reason, pilot.clusters)


def worth_seeing(base: Sequence[Unit], usual: float, scale: float = 100.0) -> float:
    """The drop that ``same`` should exclude where none is allowed: ``usual`` points, or what a
    benchmark of this size can exclude after a part of its samples, if that is more.

    That is twice the drop which all samples show.  It hangs on the baseline alone, with runs taken
    to agree by ``FAMILY``, so that it can be fixed before the first checkpoint is seen.
    """
    found = difference(alone(base, scale))
    return max(usual, 2 * detectable(found.error * math.sqrt(2 * (1 - FAMILY)), found.share))


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a plan must know of two runs on the same samples, or of one."""

    base_C: Floats
    """Each cluster's pull on the base's headline ..."""
    new_C: Floats
    """... and on the new run's; the base's again where there is one run."""
    own_C: Floats
    """Variance of the headline where the cluster's answers are lost, each by a coin's throw."""
    level: float
    """The new run's headline."""
    changed: int
    """Clusters whose answers the two score differently."""
    strata: int
    smallest: int
    """Clusters in the smallest sub-task."""

    @classmethod
    def of(cls, base: Sequence[Unit], new: Sequence[Unit] | None, scale: float = 100.0) -> Pilot:
        """From the samples that both runs have."""
        first, second = _common(base, base if new is None else new)
        runs = [alone(first, scale), alone(second, scale)]
        one, two = differences(runs)
        return cls(
            base_C=one.pulls_C,
            new_C=two.pulls_C,
            own_C=_losses(second, runs[1]),
            level=two.value,
            changed=int((np.abs(runs[0].top_CS - runs[1].top_CS) > 1e-9 * scale).any(1).sum()),
            strata=runs[1].bottom_CS.shape[1],
            smallest=min(len(rows) for rows in blocks(runs[1].bottom_CS)),
        )

    @property
    def clusters(self) -> int:
        """How many there are."""
        return len(self.base_C)

    @property
    def agreement(self) -> float:
        """The correlation of the two headlines over samples."""
        both = float(self.base_C @ self.new_C)
        size = math.sqrt(float(self.base_C @ self.base_C) * float(self.new_C @ self.new_C))
        return both / size if size else 1.0

    def needed(
        self, drop: float, threshold: float = TWO_SIDED, power: float = 0.9,
        agreement: float | None = None,
    ) -> int:  # fmt: skip
        """Clusters that show ``drop``; with ``agreement`` as though two runs like the new one
        agreed so far."""
        return self._needed(drop, threshold, power, self._variance(drop, agreement))

    def range(self, drop: float, threshold: float, power: float) -> tuple[int, int, int]:
        """The estimate between bounds that allow for the pilot's own luck.

        The variance is a sum over clusters, whose spread says how sure it is.  Above, three more
        clusters are taken to have changed altogether: as many as none seen may hide (the rule of
        three).
        """
        variance, doubt = float(self._terms(drop).sum()), self.doubt(drop)
        hidden = 3 * float(self.own_C.max(initial=0.0))
        low, high = variance / (1 + 2 * doubt), variance * (1 + 2 * doubt) + hidden
        bounds = [self._needed(drop, threshold, power, v) for v in (low, variance, high)]
        return bounds[0], bounds[1], bounds[2]

    def doubt(self, drop: float) -> float:
        """The relative standard error of the estimate."""
        terms_C = self._terms(drop)
        variance = float(terms_C.sum())
        return float(terms_C.std()) * math.sqrt(len(terms_C)) / variance if variance else 0.0

    def trouble(self, drop: float) -> str:
        """Why an estimate may not stand alone; empty where it may.

        A share q of n clusters that changed is known to 15 % at two standard deviations from
        ``n = 178 (1 - q) / q`` on; q itself is given its benefit of the doubt, for pilots chosen by
        a lucky q would be biased.  By how much answers changed may leave more doubt than that.
        """
        share = self.changed / self.clusters
        share += 2 * math.sqrt(share * (1 - share) / self.clusters)
        if self.smallest < FEW:
            return f"a sub-task has {self.smallest} pictures, and plans need {FEW} in each"
        if self.strata > 1:
            return "sub-tasks of few pictures make the variance uncertain"
        if self.clusters * share < (2 / PRECISE) ** 2 * (1 - share):
            return f"too few answers changed in the pilot, {self.changed} of {self.clusters}"
        if NINE_IN_TEN * self.doubt(drop) > PRECISE:
            return "a larger pilot would tell more exactly"
        return ""

    def _terms(self, drop: float) -> Floats:
        lost = min(1.0, drop / self.level)
        kept = 1 - lost
        terms: Floats = (self.base_C - kept * self.new_C) ** 2 + kept * lost * self.own_C
        return terms

    def _variance(self, drop: float, agreement: float | None) -> float:
        if agreement is None:
            return float(self._terms(drop).sum())
        lost = min(1.0, drop / self.level)
        kept = 1 - lost
        each = float(self.new_C @ self.new_C)
        apart = 1 + kept * kept - 2 * kept * agreement
        return each * apart + kept * lost * float(self.own_C.sum())

    def _needed(self, drop: float, threshold: float, power: float, variance: float) -> int:
        each = self.clusters * variance
        reach = threshold * math.sqrt(each + drop**2) + NORMAL.inv_cdf(power) * math.sqrt(each)
        return math.ceil((reach / drop) ** 2)


def _common(base: Sequence[Unit], new: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    """The units of both, in one order and with one run's clusters."""
    after = {(unit.stratum, unit.id): unit for unit in new}
    first = [unit for unit in base if (unit.stratum, unit.id) in after]
    if not first:
        raise UsageError("the runs have no scored sample in common; run both on the same data")
    return first, [replace(after[u.stratum, u.id], cluster=u.cluster) for u in first]


def _losses(units: Sequence[Unit], run: Changes) -> Floats:
    """Where strata share pictures, a picture's answers are lost together."""
    total_S = run.bottom_CS.sum(0)
    if len(total_S) > 1:
        lost_C: Floats = (run.top_CS / total_S).sum(1) ** 2
        return lost_C
    own: dict[str, float] = {}
    for unit in units:
        name = unit.cluster or f"\0{unit.id}"
        share = run.scale * unit.weight * unit.value / float(total_S[0])
        own[name] = own.get(name, 0.0) + share**2
    return np.array(list(own.values()))
