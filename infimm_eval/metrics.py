"""From scores to the figures of the published tables.

Every builder returns a function over outcomes; it knows tags and numbers, not who made them.
Unscored outcomes are left out, and a figure that nothing supports is absent.  The units of each
summary add up to its headline (see ``types.Unit``), which is what statistics work from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from infimm_eval.types import Metrics, Outcome, Summary, Unit


def mean(name: str, *, by: Sequence[str] = (), scale: float = 100.0) -> Metrics:
    """The average score, and the same for every value of each tag in ``by``."""

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        scored = [outcome for outcome in outcomes if outcome.score.value is not None]
        return Summary(
            metrics=_average({name: scored}, scale) | dict(corpus),
            breakdown={tag: _average(_grouped(scored, tag), scale) for tag in by},
            units=[_unit(outcome) for outcome in scored],
            scale=scale,
        )

    return metrics


def _value(outcome: Outcome) -> float:
    assert outcome.score.value is not None
    return outcome.score.value


def _unit(outcome: Outcome) -> Unit:
    return Unit(outcome.id, outcome.group or outcome.id, _value(outcome))


def _grouped(outcomes: Iterable[Outcome], tag: str) -> dict[str, list[Outcome]]:
    """Outcomes by the value of a tag; those without it stand in no group."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if tag in outcome.tags:
            groups[outcome.tags[tag]].append(outcome)
    return dict(sorted(groups.items()))


def _average(groups: Mapping[str, Sequence[Outcome]], scale: float) -> dict[str, float]:
    return {
        name: scale * fmean(_value(outcome) for outcome in group)
        for name, group in groups.items()
        if group
    }
