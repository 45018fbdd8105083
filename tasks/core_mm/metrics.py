"""InfiMM-Eval's overall score, in which hard questions weigh twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infimm_eval.errors import UsageError, unknown
from infimm_eval.metrics import averages, by_tag, scored, unit_of
from infimm_eval.types import Outcome, Summary


def overall(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
    """``overall`` (headline) of InfiMM-Eval, whose ``High`` questions weigh twice a ``Moderate``
    one (``tags["complexity"]``), in the columns by ``category`` too."""
    graded = list(scored(outcomes))
    return Summary(
        metrics=averages({"overall": graded}, 100, _complexity),
        breakdown={
            tag: averages(by_tag(graded, tag), 100, _complexity)
            for tag in ("category", "complexity")
        },
        units=[unit_of(outcome, _complexity(outcome)) for outcome in graded],
    )


_COMPLEXITIES = {"Moderate": 1.0, "High": 2.0}


def _complexity(outcome: Outcome) -> float:
    if (name := outcome.tags.get("complexity")) is None:
        raise UsageError(
            f"the complexity of InfiMM-Eval's question {outcome.id} is not known; give the "
            "questions (core-mm-wo-answer.json or its folder) as --references"
        )
    if name not in _COMPLEXITIES:
        raise unknown("InfiMM-Eval complexity", name, _COMPLEXITIES)
    return _COMPLEXITIES[name]
