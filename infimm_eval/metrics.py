"""From scores to the figures of the published tables.

Every builder returns a function over outcomes; it knows tags and numbers, not who made them.
Unscored outcomes are left out, and a figure that nothing supports is absent.  The units of each
summary add up to its headline (see ``types.Unit``), which is what statistics work from.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev

from infimm_eval.errors import UsageError, unknown
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
        extra = {"parse_failures": 100 * fmean(not o.score.parsed for o in _scored(outcomes))}
        parts = (outcome.score.parts for outcome in _scored(outcomes))
        expected = array("d", (part["expected"] for part in parts if "expected" in part))
        if len(expected) == len(plain.units):
            extra["expected"] = 100 * fmean(expected)
        return replace(plain, metrics={**plain.metrics, **extra})

    return metrics


def scienceqa() -> Metrics:
    """``accuracy`` over all questions of the split (Lu et al. 2022)."""
    return choices(by=("subject", "topic", "grade"))


def mmmu() -> Metrics:
    """``accuracy`` over questions, which is how MMMU adds up subjects (micro), and ``expected``:
    what the official script's random letters are worth on average."""
    return choices(by=("discipline", "subject", "question_type"))


# ---- MME: pairs of questions

PERCEPTION = frozenset(
    {
        *("existence", "count", "position", "color", "posters"),
        *("celebrity", "scene", "landmark", "artwork", "OCR"),
    }
)
COGNITION = frozenset(
    {"commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"}
)


def mme() -> Metrics:
    """``perception`` (headline, at most 2,000) and ``cognition`` (800): the sums over sub-tasks
    (``tags["category"]``) of accuracy over questions and accuracy over pictures (``group``) whose
    questions are all right, each in percent.  A picture with one question left is no pair."""

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        questions = _by_tag(_scored(outcomes), "category")
        if strange := questions.keys() - PERCEPTION - COGNITION:
            raise unknown("MME sub-task", min(strange), PERCEPTION | COGNITION)
        units = {task: _pair_units(task, asked) for task, asked in questions.items()}
        scores = {task: headline(found, 100) for task, found in units.items()}
        sums = {
            name: math.fsum(score for task, score in scores.items() if task in tasks)
            for name, tasks in (("perception", PERCEPTION), ("cognition", COGNITION))
            if tasks & scores.keys()
        }
        return Summary(
            metrics=sums,
            breakdown={
                "score": scores,
                "accuracy": _averages(questions, 100),
                "accuracy+": {
                    task: headline(pairs, 100)
                    for task, found in units.items()
                    if (pairs := [unit for unit in found if unit.stratum.endswith("+")])
                },
            },
            units=[unit for task in sorted(PERCEPTION & units.keys()) for unit in units[task]],
        )

    return metrics


def _pair_units(task: str, asked: Sequence[Outcome]) -> list[Unit]:
    """Two strata: ``task``, a unit a question; ``task+``, a unit a picture with its pair."""
    pictures: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in asked:
        pictures[f"{task}/{outcome.group}"].append(outcome)
    questions = [
        Unit(outcome.id, picture, _value(outcome), stratum=task)
        for picture, pair in pictures.items()
        for outcome in pair
    ]
    pairs = [
        Unit(picture, picture, float(all(map(_value, pair))), stratum=f"{task}+")
        for picture, pair in pictures.items()
        if len(pair) > 1
    ]
    return questions + pairs


# ---- MMBench: rotations of a question


def circular(*, by: Sequence[str] = ("l2-category", "category")) -> Metrics:
    """``circular`` (headline): questions right in every rotation of their options, in percent
    (MMBench's CircularEval, Liu et al. 2023).  ``vanilla``: the unrotated rows alone.

    Rotations share ``tags["question"]``, the id of the unrotated row.  A question with an
    unscored rotation is left out.
    """

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        rotations = _by_tag(outcomes, "question")
        whole = {
            question: rows
            for question, rows in rotations.items()
            if all(row.score.value is not None for row in rows)
        }
        units = {
            question: Unit(question, rows[0].group or question, float(all(map(_value, rows))))
            for question, rows in whole.items()
        }
        groups: dict[str, dict[str, list[Unit]]] = {tag: defaultdict(list) for tag in by}
        for question, rows in whole.items():
            for tag in groups.keys() & rows[0].tags.keys():
                groups[tag][rows[0].tags[tag]].append(units[question])
        unrotated = [o for o in _scored(outcomes) if o.id == o.tags["question"]]
        figures = {"circular": headline(units.values(), 100)} if units else {}
        return Summary(
            metrics=figures | _averages({"vanilla": unrotated}, 100),
            breakdown={
                tag: {name: headline(found, 100) for name, found in sorted(values.items())}
                for tag, values in groups.items()
            },
            units=list(units.values()),
        )

    return metrics


# ---- judged answers

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")


def mmvet() -> Metrics:
    """``total`` (headline) of MM-Vet (Yu et al. 2023), by capability and by exact set of them
    (``tags["capability"]``, separated by commas).  With several verdicts an answer
    (``parts["run k"]``), ``std`` is the population deviation of the runs' totals."""

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        scored = list(_scored(outcomes))
        runs = _runs(scored)
        return Summary(
            metrics=_averages({"total": scored}, 100) | ({"std": pstdev(runs)} if runs else {}),
            breakdown={
                "capability": _averages(_grouped(scored, _capabilities), 100),
                "integration": _averages(
                    _grouped(scored, lambda o: filter(None, ["+".join(_capabilities(o))])), 100
                ),
            },
            units=[_unit(outcome) for outcome in scored],
        )

    return metrics


def _capabilities(outcome: Outcome) -> list[str]:
    """In the order of the official table."""
    named = {name.strip() for name in outcome.tags.get("capability", "").split(",")} - {""}
    if strange := named - set(CAPABILITIES):
        raise unknown("MM-Vet capability", min(strange), CAPABILITIES)
    return [name for name in CAPABILITIES if name in named]


def _runs(scored: Sequence[Outcome]) -> list[float]:
    """Each run's total, where every answer has a verdict of it."""
    shared = set.intersection(*(set(outcome.score.parts) for outcome in scored)) if scored else ()
    runs = [name for name in shared if name.startswith("run ")]
    return [100 * fmean(outcome.score.parts[name] for outcome in scored) for name in runs]


def core_mm() -> Metrics:
    """``overall`` (headline) of InfiMM-Eval, whose ``High`` questions weigh twice a ``Moderate``
    one (``tags["complexity"]``), in the columns by ``category`` too."""

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        scored = list(_scored(outcomes))
        return Summary(
            metrics=_averages({"overall": scored}, 100, _complexity),
            breakdown={
                tag: _averages(_by_tag(scored, tag), 100, _complexity)
                for tag in ("category", "complexity")
            },
            units=[_unit(outcome, _complexity(outcome)) for outcome in scored],
        )

    return metrics


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


# ---- shared


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


def _scored(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    return (outcome for outcome in outcomes if outcome.score.value is not None)


def _value(outcome: Outcome) -> float:
    assert outcome.score.value is not None
    return outcome.score.value


def _unit(outcome: Outcome, weight: float = 1.0) -> Unit:
    return Unit(outcome.id, outcome.group or outcome.id, _value(outcome), weight)


@dataclass(frozen=True, slots=True)
class _Units(Collection[Unit]):
    """A unit for every scored outcome, made when it is read."""

    outcomes: Sequence[Outcome]
    scored: int

    def __len__(self) -> int:
        return self.scored

    def __iter__(self) -> Iterator[Unit]:
        return map(_unit, _scored(self.outcomes))

    def __contains__(self, unit: object) -> bool:
        return any(unit == mine for mine in self)


def _by_tag(outcomes: Iterable[Outcome], tag: str) -> dict[str, list[Outcome]]:
    """Outcomes by the value of a tag; those without it stand in no group."""
    return _grouped(outcomes, lambda o: [o.tags[tag]] if tag in o.tags else [])


def _grouped(
    outcomes: Iterable[Outcome], names: Callable[[Outcome], Iterable[str]]
) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for name in names(outcome):
            groups[name].append(outcome)
    return dict(sorted(groups.items()))


def _numbers() -> array[float]:
    return array("d")


def _means(groups: Mapping[str, Sequence[float]], scale: float) -> dict[str, float]:
    return {name: scale * fmean(values) for name, values in sorted(groups.items()) if values}


def _averages(
    groups: Mapping[str, Sequence[Outcome]],
    scale: float,
    weigh: Callable[[Outcome], float] = lambda outcome: 1.0,
) -> dict[str, float]:
    return {
        name: scale * fmean(map(_value, group), weights=[weigh(outcome) for outcome in group])
        for name, group in groups.items()
        if group
    }
