"""A verdict for every checkpoint of a training, after whole evaluations or at looks inside.

Refuses to know files, and where checkpoints come from.

What a series is judged by (`Terms`) is fixed before its first checkpoint: changing it later, or
drawing another order of samples until it is quiet, breaks the error rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from infimm_eval.series.looks import LOOKS, Look, Sides, Verdict, judge_look
from infimm_eval.series.scores import Changes, Difference, differences
from infimm_eval.series.thresholds import (
    BASELINE,
    joint_thresholds,
    spent_over_checkpoints,
)

ONE_CHECKPOINT = 0.05
"""How often one checkpoint may be called the same where the drop is the one worth seeing: a drop
missed now has the next checkpoint."""
SAME = NormalDist().inv_cdf(1 - ONE_CHECKPOINT)
"""The same in standard errors, after a whole evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is fixed when a series starts, and stored with it."""

    planned: int = 50
    """How many checkpoints are expected; more are judged too, with what error is left."""
    benchmarks: int = 1
    """How many rows (task and shots) are judged; each has ``alpha / benchmarks``."""
    alpha: float = 0.05
    """How often a training in which nothing drops may raise any alarm at all."""
    best: bool = False
    """Whether a checkpoint is compared with every earlier one too, not the baseline alone."""
    looks: tuple[float, ...] = ()
    """Shares of the samples after which one may stop; empty: evaluations are asked whole."""

    @property
    def part(self) -> float:
        """One benchmark's part of alpha."""
        return self.alpha / self.benchmarks

    @property
    def sides(self) -> Sides:
        """What each checkpoint may err by, where there are looks inside its evaluation."""
        each = self.part / self.planned
        return Sides(self.looks or LOOKS, worse=each, same=ONE_CHECKPOINT, better=each)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of one checkpoint on one benchmark."""

    verdict: Verdict
    reference: int
    """The checkpoint it lies furthest below, in standard errors; ``BASELINE`` is the baseline."""
    difference: Difference
    """Checkpoint minus reference."""
    score: float
    """Standard errors by which the drop exceeds the allowed one."""
    threshold: float
    """An alarm is a score beyond it."""

    @property
    def alarm(self) -> bool:
        """Whether a drop beyond the allowed one is proven, at the error rate of the series."""
        return self.score > self.threshold

    @property
    def interval(self) -> tuple[float, float]:
        """What the threshold leaves standing, simultaneously for all checkpoints."""
        return self.difference.interval(self.threshold)


def judge(
    runs: Sequence[Changes],
    terms: Terms,
    *,
    allowed: float = 0.0,
    worth: float = 0.0,
    settled: Sequence[float] = (),
) -> list[Judgement]:
    """Every checkpoint so far on one benchmark, each asked whole, in order.

    ``allowed`` is the tolerated drop, ``worth`` the drop that ``same`` excludes where none is
    (points of the headline).  While no checkpoint lies more than ``allowed`` below a reference,
    any alarm at all has probability ``terms.alpha`` at most, over all benchmarks together.  With
    ``terms.best``, to be worse than the best so far is to be worse than one of them: which one
    looks best may be luck.  Pass the thresholds that were used already as ``settled``: what was
    said stays said.
    """
    steps = differences(runs)
    pulls_TC = np.array([step.pulls_C for step in steps])
    references = [[BASELINE, *range(t)] if terms.best else [BASELINE] for t in range(len(steps))]
    spent_T = spent_over_checkpoints(len(steps), terms.planned, terms.part)
    limits = joint_thresholds(pulls_TC @ pulls_TC.T, references, spent_T, settled)
    found = []
    for new, others, limit in zip(steps, references, limits, strict=True):
        pairs = [(other, new.minus(steps[other]) if other >= 0 else new) for other in others]
        other, gap = max(pairs, key=lambda pair: pair[1].drop(allowed))
        verdict = _verdict(new, gap, limit, allowed, max(allowed, worth))
        found.append(Judgement(verdict, other, gap, gap.drop(allowed), limit))
    return found


def judge_early(run: Changes, terms: Terms, look: int, *, allowed: float, worth: float) -> Look:
    """One checkpoint at its ``look``-th look, 0 the first, in a series with looks inside.

    A drop or a gain is said at ``alpha / (benchmarks x planned)`` for each checkpoint, however
    the scores depend on each other; ``same`` at 5 % for each, since a drop missed now has the next
    checkpoint.  ``worth`` must be above nought and at least ``allowed``.
    """
    return judge_look(run, terms.sides, look, allowed=allowed, worth=worth)  # fmt: skip


def _verdict(
    new: Difference, gap: Difference, limit: float, allowed: float, worth: float
) -> Verdict:
    if gap.drop(allowed) > limit:
        return "worse"
    if new.gain() > limit:
        return "better"
    return "same" if worth > 0 and gap.calm(worth) > SAME else "undecided"
