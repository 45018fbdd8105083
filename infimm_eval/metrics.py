"""Metrics: from scores to the figures of the published tables.

Every builder returns a function over outcomes; it knows tags and numbers, not who made them.
Unscored outcomes are left out, and a figure that nothing supports is absent.  The units of each
summary add up to its headline (see ``types.Unit``), which is what statistics work from.

A metric that one benchmark has stands with it; the second half of this module is what such
metrics are made of.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from infimm_eval.types import Metrics, Outcome, Summary, Unit


def mean(name: str, *, by: Sequence[str] = (), scale: float = 100.0) -> Metrics:
    """The average score, and the same for every value of each tag in ``by``."""

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        # Numbers alone are kept: of outcomes there may be more than fit into memory at a time.
        whole = array("d")
        parts: dict[str, dict[str, array[float]]] = {tag: defaultdict(_numbers) for tag in by}
        for outcome in outcomes:
            if (value := outcome.score.value) is None:
                continue
            whole.append(value)
            for tag, part in parts.items():
                if tag in outcome.tags:
                    part[outcome.tags[tag]].append(value)
        return Summary(
            metrics=_means({name: whole}, scale) | dict(corpus),
            breakdown={tag: _means(part, scale) for tag, part in parts.items()},
            units=_Units(outcomes, len(whole)),
            scale=scale,
        )

    return metrics


def captions() -> Metrics:
    """``CIDEr`` (headline, 129.3 and the like), with the scorer's BLEU, ROUGE-L and METEOR."""
    return mean("CIDEr")


def choices(*, by: Sequence[str] = ()) -> Metrics:
    """``accuracy`` (headline) over every question asked: one without a readable letter is wrong.

    ``parse_failures``: how many of a hundred had none.  ``expected``, where the scorer says what
    guessing in their place would have been worth: the accuracy with that worth.
    """

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        plain = mean("accuracy", by=by)(outcomes, corpus)
        if not plain.units:
            return plain
        extra = {"parse_failures": 100 * fmean(not o.score.parsed for o in scored(outcomes))}
        parts = (outcome.score.parts for outcome in scored(outcomes))
        expected = array("d", (part["expected"] for part in parts if "expected" in part))
        if len(expected) == len(plain.units):
            extra["expected"] = 100 * fmean(expected)
        return replace(plain, metrics={**plain.metrics, **extra})

    return metrics


def headline(units: Iterable[Unit], scale: float) -> float:
    """What units add up to: scale x the sum over strata of their weighted means."""
    strata: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        strata[unit.stratum].append(unit)
    return scale * math.fsum(
        math.fsum(unit.weight * unit.value for unit in found)
        / math.fsum(unit.weight for unit in found)
        for found in strata.values()
    )


def scored(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Those that have a score."""
    return (outcome for outcome in outcomes if outcome.score.value is not None)


def value_of(outcome: Outcome) -> float:
    """The value of an outcome that has one."""
    assert outcome.score.value is not None
    return outcome.score.value


def unit_of(outcome: Outcome, weight: float = 1.0) -> Unit:
    """An outcome as a unit of its own, clustered by its group."""
    return Unit(outcome.id, outcome.group or outcome.id, value_of(outcome), weight)


@dataclass(frozen=True, slots=True)
class _Units(Collection[Unit]):
    """A unit for every scored outcome, made when it is read."""

    outcomes: Sequence[Outcome]
    scored: int

    def __len__(self) -> int:
        return self.scored

    def __iter__(self) -> Iterator[Unit]:
        return map(unit_of, scored(self.outcomes))

    def __contains__(self, unit: object) -> bool:
        return any(unit == mine for mine in self)


def by_tag(outcomes: Iterable[Outcome], tag: str) -> dict[str, list[Outcome]]:
    """Outcomes by the value of a tag; those without it stand in no group."""
    return grouped(outcomes, lambda o: [o.tags[tag]] if tag in o.tags else [])


def grouped(
    outcomes: Iterable[Outcome], names: Callable[[Outcome], Iterable[str]]
) -> dict[str, list[Outcome]]:
    """Outcomes under every name that ``names`` gives them, in the names' order."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for name in names(outcome):
            groups[name].append(outcome)
    return dict(sorted(groups.items()))


def averages(
    groups: Mapping[str, Sequence[Outcome]],
    scale: float,
    weigh: Callable[[Outcome], float] = lambda outcome: 1.0,
) -> dict[str, float]:
    """The (weighted) mean of each group, times ``scale``."""
    return {
        name: scale * fmean(map(value_of, group), weights=[weigh(outcome) for outcome in group])
        for name, group in groups.items()
        if group
    }


def _means(groups: Mapping[str, Sequence[float]], scale: float) -> dict[str, float]:
    return {name: scale * fmean(values) for name, values in sorted(groups.items()) if values}


def _numbers() -> array[float]:
    return array("d")
