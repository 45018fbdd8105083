"""MME's two sums over sub-tasks of accuracy and accuracy over pictures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from infimm_eval.errors import unknown
from infimm_eval.metrics import averages, by_tag, headline, scored, value_of
from infimm_eval.types import Outcome, Summary, Unit

from .files import CATEGORIES, COGNITION, PERCEPTION


def sums(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
    """``perception`` (headline, at most 2,000) and ``cognition`` (800): the sums over sub-tasks
    (``tags["category"]``) of accuracy over questions and accuracy over pictures (``group``) whose
    questions are all right, each in percent.  Only a picture with two questions is a pair."""
    questions = by_tag(scored(outcomes), "category")
    if strange := questions.keys() - {*CATEGORIES}:
        raise unknown("MME sub-task", min(strange), CATEGORIES)
    units = {task: _pair_units(task, asked) for task, asked in questions.items()}
    scores = {task: headline(found, 100) for task, found in units.items()}
    totals = {
        name: math.fsum(score for task, score in scores.items() if task in tasks)
        for name, tasks in (("perception", PERCEPTION), ("cognition", COGNITION))
        if scores.keys() & {*tasks}
    }
    return Summary(
        metrics=totals,
        breakdown={
            "score": scores,
            "accuracy": averages(questions, 100),
            "accuracy+": {
                task: headline(pairs, 100)
                for task, found in units.items()
                if (pairs := [unit for unit in found if unit.stratum.endswith("+")])
            },
        },
        units=[unit for task in sorted(units.keys() & {*PERCEPTION}) for unit in units[task]],
    )


def _pair_units(task: str, asked: Sequence[Outcome]) -> list[Unit]:
    """Two strata: ``task``, a unit a question; ``task+``, a unit a picture with its pair."""
    pictures: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in asked:
        pictures[f"{task}/{outcome.group}"].append(outcome)
    questions = [
        Unit(outcome.id, picture, value_of(outcome), stratum=task)
        for picture, pair in pictures.items()
        for outcome in pair
    ]
    pairs = [
        Unit(picture, picture, float(all(map(value_of, pair))), stratum=f"{task}+")
        for picture, pair in pictures.items()
        if len(pair) == 2
    ]
    return questions + pairs
