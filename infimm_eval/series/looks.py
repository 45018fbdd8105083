"""One evaluation looked at before all is asked: in which order, when, and what may be said.

Refuses to know how samples are asked, and which series they belong to.

The order is drawn once, from names and a seed alone, and is the same for every checkpoint: the
first tenth of the samples is part of the first fifth.  A look says better, same (within the
tolerance), worse or undecided; however often one looks, each side errs as often as it may.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from infimm_eval.series.scores import Changes, Difference, blocks, difference
from infimm_eval.series.thresholds import look_thresholds
from infimm_eval.stats.clusters import Floats

LOOKS = (0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.70, 1.0)
"""Shares of the samples after which an evaluation is looked at."""
FEW = 8
"""Clusters of a sub-task below which its variance is anyone's guess."""

Verdict: TypeAlias = Literal["better", "same", "worse", "undecided"]
"""``worse``: a drop beyond the allowed one is proven.  ``better``: a gain is.  ``same``: a drop as
large as the one worth seeing is excluded; whether there is a gain is not asked any further."""


@dataclass(frozen=True, slots=True)
class Sides:
    """At which looks, and how often each verdict may be wrong over all of them together."""

    looks: tuple[float, ...] = LOOKS
    worse: float = 0.05
    """Where the drop is at most the allowed one."""
    same: float = 0.05
    """Where it is the one worth seeing, or larger."""
    better: float = 0.05
    """Where the run is no better."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was said at one look."""

    verdict: Verdict
    difference: Difference | None
    """New minus base over what was asked; ``None`` where that was too little for a look.  A run
    stopped early overstates what stopped it: show the interval, never the figure alone."""
    asked: float
    """The share of the samples that was asked."""
    interval: tuple[float, float] | None
    """What every look so far leaves standing (a repeated confidence interval)."""

    @property
    def decided(self) -> bool:
        """Whether nothing more need be asked."""
        return self.verdict != "undecided"


def asking_order(groups: Sequence[str], kinds: Sequence[str], seed: int = 0) -> list[int]:
    """Places of samples in the order in which they are to be asked.

    Samples of one group (a picture) stay together, groups come in random order, kinds (sub-tasks)
    in turn, so that small ones, which tell most, come first.  The order hangs on names and seed
    alone: not on the order of a file, and a sample that goes missing leaves the others in place.
    """
    kind_of = dict(zip(groups, kinds, strict=True))
    drawn = sorted((_luck(group, seed), group) for group in kind_of)
    seen: Counter[str] = Counter()
    place_of: dict[str, tuple[int, bytes]] = {}
    for luck, group in drawn:
        place_of[group] = (seen[kind_of[group]], luck)
        seen[kind_of[group]] += 1
    return sorted(range(len(groups)), key=lambda at: (*place_of[groups[at]], at))


def nested(order: Sequence[int], groups: Sequence[str], share: float) -> list[int]:
    """The beginning of an order that holds ``share`` of the groups, at least two of them."""
    names = list(dict.fromkeys(groups[at] for at in order))
    chosen = set(names[: max(2, round(share * len(names)))])
    return [at for at in order if groups[at] in chosen]


def ripe(asked_CS: Floats, whole_CS: Floats) -> bool:
    """Whether a look may be taken: every sub-task has ``FEW`` clusters asked, or all it has.

    Arguments are sums of weights: of what was asked, and of all that there is.
    """
    asked_C = np.asarray((asked_CS > 0).any(1))
    return all(int(asked_C[rows].sum()) >= min(FEW, len(rows)) for rows in blocks(whole_CS))


def judge_look(
    run: Changes, sides: Sides, look: int, *, allowed: float = 0.0, worth: float
) -> Look:
    """What may be said at the ``look``-th look of ``sides.looks``, 0 the first.

    ``allowed`` is the tolerated drop, ``worth`` (above nought, ``allowed`` or more) the drop that
    ``same`` excludes; both in points of the headline.
    """
    if worth <= 0 or worth < allowed:
        raise ValueError(f"a drop worth seeing of {worth:g}, with {allowed:g} allowed")
    if not ripe(run.bottom_CS, run.all_CS):
        return Look("undecided", None, run.asked, None)
    seen = difference(run)
    verdict = verdict_at(seen, sides, look, allowed=allowed, worth=worth)
    limits = (look_thresholds(sides.looks, alpha)[look] for alpha in (sides.worse, sides.same))
    return Look(verdict, seen, run.asked, seen.interval(max(limits)))


def verdict_at(
    seen: Difference, sides: Sides, look: int, *, allowed: float, worth: float
) -> Verdict:
    """The same of a difference that is ripe for a look."""
    worse, same, better = (
        look_thresholds(sides.looks, alpha)[look]
        for alpha in (sides.worse, sides.same, sides.better)
    )
    if seen.drop(allowed) > worse:
        return "worse"
    if seen.gain() > better:
        return "better"
    return "same" if seen.calm(worth) > same else "undecided"


def _luck(group: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{group}".encode("utf-8", "surrogatepass")).digest()
