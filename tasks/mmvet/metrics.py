"""MM-Vet's total, by capability and by exact set of capabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev

from infimm_eval.errors import unknown
from infimm_eval.metrics import averages, grouped, scored, unit_of
from infimm_eval.types import Outcome, Summary

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")


def total(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
    """``total`` (headline) of MM-Vet (Yu et al. 2023), by capability and by exact set of them
    (``tags["capability"]``, separated by commas).  With several verdicts an answer
    (``parts["run k"]``), ``std`` is the population deviation of the runs' totals."""
    graded = list(scored(outcomes))
    runs = _runs(graded)
    return Summary(
        metrics=averages({"total": graded}, 100) | ({"std": pstdev(runs)} if runs else {}),
        breakdown={
            "capability": averages(grouped(graded, _capabilities), 100),
            "integration": averages(
                grouped(graded, lambda o: filter(None, ["+".join(_capabilities(o))])), 100
            ),
        },
        units=[unit_of(outcome) for outcome in graded],
    )


def _capabilities(outcome: Outcome) -> list[str]:
    """In the order of the official table."""
    named = {name.strip() for name in outcome.tags.get("capability", "").split(",")} - {""}
    if strange := named - set(CAPABILITIES):
        raise unknown("MM-Vet capability", min(strange), CAPABILITIES)
    return [name for name in CAPABILITIES if name in named]


def _runs(graded: Sequence[Outcome]) -> list[float]:
    """Each run's total, where every answer has a verdict of it."""
    shared = set.intersection(*(set(outcome.score.parts) for outcome in graded)) if graded else ()
    runs = [name for name in shared if name.startswith("run ")]
    return [100 * fmean(outcome.score.parts[name] for outcome in graded) for name in runs]
