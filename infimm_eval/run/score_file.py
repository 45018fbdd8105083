"""Score a file of predictions that anybody made: no model, no log, the same scorers.

Matches predictions to references and hands both to a benchmark's scorer and metrics; knows no
file format and no benchmark itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from infimm_eval import data, registry, scorers
from infimm_eval.data import checking
from infimm_eval.errors import UsageError, shown
from infimm_eval.run import ids, model_graded
from infimm_eval.run.scoring import Scoreboard, Scored
from infimm_eval.run.thinking import without_thinking
from infimm_eval.types import Answer, Outcome, Rubric, Sample, Score, Submission, Summary, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one predictions file, in the units of the published tables."""

    task: str
    scorer: str
    headline: str
    n: int
    """How many questions the headline is over."""
    summary: Summary
    unscored: int = 0
    unparsed: int = 0
    without_prediction: int = 0
    without_reference: int = 0
    field: str = ""
    """Which field of the file was read, where it may have several."""

    @property
    def value(self) -> float | None:
        """The headline, in published units."""
        return self.summary.metrics.get(self.headline)

    def as_json(self) -> dict[str, Any]:
        """What ``score --json`` prints."""
        return {
            "task": self.task,
            "scorer": self.scorer,
            "variant": self.scorer,  # its name before scorers had versions
            "headline": self.headline,
            "value": self.value,
            "n": self.n,
            "unscored": self.unscored,
            "unparsed": self.unparsed,
            "without_prediction": self.without_prediction,
            "without_reference": self.without_reference,
            "field": self.field,
            "metrics": dict(self.summary.metrics),
            "breakdown": {by: dict(groups) for by, groups in self.summary.breakdown.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a predictions file is scored."""

    scorer: str | None = None
    """``None``: the task's first."""
    allow_partial: bool = False
    """Score what predictions and references have in common, where the official script would
    refuse the file."""
    judge: model_graded.Judge | None = None
    """For tasks that are model-graded, where the file holds answers and no grades."""
    note: Callable[[str], None] = lambda text: None
    read: Callable[[str], str] = without_thinking
    """From an answer of the file to the text that is scored."""


def score_file(
    task: Task, predictions: Path, references: Path | None = None, how: How | None = None
) -> Result:
    """Score a results file against references: a data folder (``demo`` and ``hub`` too), the
    authors' answer file, or nothing where the results carry the right answers themselves.
    """
    how = how or How()
    submission = _submission(task)
    if how.scorer is not None:
        task = registry.scored_by(task, how.scorer)
    if isinstance(task.scorers[0].function, Rubric) and how.judge is None:
        return _graded(task, submission, predictions, references, how)
    found = matched(task, submission, predictions, references, how)
    return result(task, found, scored(task, found, how))


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Predictions beside the questions they answer."""

    samples: Sequence[Sample]
    """Every question of the references."""
    pairs: Sequence[tuple[Sample, Answer]]
    """Those that are scored, in the order of the references."""
    lacking: Sequence[str]
    """Questions without a prediction."""
    strangers: int
    """Predictions without a question."""
    field: str = ""


def matched(
    task: Task, submission: Submission, predictions: Path, references: Path | None, how: How
) -> Matched:
    """Hold predictions against references by the rules of the official script: ``UsageError``
    where it would refuse the file."""
    given = submission.read(predictions)
    field = submission.field(predictions) if submission.field else ""
    samples = _samples(task, submission, predictions, references, given)
    answers = ids.matched(given, samples, how.note)
    if submission.size is not None and len(samples) > submission.size:
        samples = [sample for sample in samples if sample.id in answers]
    if not how.allow_partial and (fault := submission.incomplete(samples)):
        raise UsageError(
            f"{references or predictions}: {fault}; --allow-partial scores what is there"
        )
    strict = submission.missing != "wrong" and not how.allow_partial
    strangers = _strangers(answers, samples, predictions, strict)
    lacking = [sample.id for sample in samples if sample.id not in answers]
    if lacking and submission.missing == "refused" and not how.allow_partial:
        raise _incomplete(predictions, lacking, len(samples), "prediction")
    asked = [s for s in samples if s.id in answers or submission.missing == "wrong"]
    return Matched(
        samples=samples,
        pairs=[(sample, Answer(sample.id, answers.get(sample.id, ""))) for sample in asked],
        lacking=lacking,
        strangers=strangers,
        field=field,
    )


def scored(task: Task, found: Matched, how: How) -> Scored:
    """The scores of a task's first scorer, and what they add up to."""
    return Scoreboard(
        task=replace(task, scorers=task.scorers[:1]),
        pairs=lambda: found.pairs,
        read=how.read,
        learned=lambda scorer: scorers.learn(scorer, found.samples),
        note=how.note,
        judge=how.judge,
    ).score()


def result(task: Task, found: Matched, scores: Scored) -> Result:
    """Both as figures."""
    return Result(
        task=task.name,
        scorer=task.scorers[0].name,
        headline=task.headline,
        n=len(found.pairs),
        summary=scores.summary,
        unscored=scores.unscored,
        unparsed=scores.unparsed,
        without_prediction=len(found.lacking),
        without_reference=found.strangers,
        field=found.field,
    )


def _incomplete(predictions: Path, lacking: Sequence[str], of: int, what: str) -> UsageError:
    return UsageError(
        f"{predictions}: {len(lacking)} of {of} questions have no {what} ({ids.few(lacking)}, "
        "...); the official script wants all, --allow-partial scores those that are there"
    )


def _samples(
    task: Task,
    submission: Submission,
    predictions: Path,
    references: Path | None,
    answers: Mapping[str, str],
) -> list[Sample]:
    """The questions that predictions are held against, with their right answers."""
    if references is None:
        samples = _carried(task, submission, predictions)
    else:
        samples = samples_of(task, references)
        if references.is_file() and predictions.is_dir():
            samples = _as_asked(samples, submission, predictions)
    if not any(sample.references for sample in samples):
        raise UsageError(f"{references or predictions} holds no right answers of {task.title}")
    return samples


def _carried(task: Task, submission: Submission, predictions: Path) -> list[Sample]:
    """The questions of results that bring their right answers along."""
    if submission.references is None or not submission.carries_answers(predictions):
        raise UsageError(
            f"{predictions} holds no right answers of {task.title}; name them by --references: a "
            "data folder, demo, hub or the authors' answer file"
        )
    return _checked(submission.references(predictions), predictions)


def _checked(samples: Iterable[Sample], place: Path) -> list[Sample]:
    """The same samples, each looked at as those of a run are."""
    found = list(samples)
    for sample in found:
        checking.check_sample(sample, f"{place}: question {shown(sample.id)}")
    return found


def samples_of(task: Task, place: Path) -> list[Sample]:
    """The questions with their right answers, from ``demo``, the ``hub``, a data folder or one
    file (or folder) of the authors' in which the answers alone are."""
    submission = _submission(task)
    named = str(place) if str(place) in ("demo", "hub") and not place.exists() else None
    if named is None and not place.exists():
        raise UsageError(f"there is no {place}")
    if named or place.is_dir():
        try:
            rows = data.open_source(task.source, named or place, title=task.title).rows()
            return list(checking.samples(task, rows, f"{task.title} in {place}"))
        except UsageError as no_data:
            if named or submission.references is None or not submission.carries_answers(place):
                raise
            try:
                return _checked(submission.references(place), place)
            except UsageError as no_results:
                raise UsageError(f"{no_data}; or results: {no_results}") from None
    if submission.references is None:
        raise UsageError(f"{task.name}: --references should be a data folder, not the file {place}")
    return _checked(submission.references(place), place)


def _as_asked(samples: Sequence[Sample], submission: Submission, predictions: Path) -> list[Sample]:
    """The questions as results that bring them have them (options, order), with the right
    answers of references that are a file of answers alone."""
    if submission.references is None:
        return list(samples)
    right = {sample.id: sample.references for sample in samples}
    carried = _checked(submission.references(predictions), predictions)
    asked = {sample.id: sample for sample in carried}
    known = [replace(s, references=right[s.id]) for s in asked.values() if s.id in right]
    return known + [sample for sample in samples if sample.id not in asked]


def _submission(task: Task) -> Submission:
    if task.submission is None:
        raise UsageError(f"{task.name} has no results format to read predictions from")
    return task.submission


def _strangers(
    answers: Collection[str], samples: Sequence[Sample], path: Path, strict: bool
) -> int:
    """Predictions for questions that the references do not have: refused where that is
    ``strict``ly done, and where nothing is left."""
    known = {sample.id: None for sample in samples}
    strangers = [key for key in answers if key not in known]
    if strangers and (strict or len(strangers) == len(answers)):
        raise UsageError(
            f"{path}: {len(strangers)} of {len(answers)} predictions are for questions that the "
            f"references do not have ({ids.few(strangers)}); is it the same split? They have "
            f"{ids.few(known)}, ..."
        )
    return len(strangers)


def _graded(
    task: Task, submission: Submission, predictions: Path, references: Path | None, how: How
) -> Result:
    """Figures from a judge's grades; with several runs, the mean and the deviation over them."""
    if submission.grades is None:
        raise UsageError(f"{task.name} is graded by a judge, and its grades have no file format")
    grades = submission.grades(predictions)
    known = {s.id: s for s in samples_of(task, references)} if references else {}
    if known:
        _strangers(grades, list(known.values()), predictions, strict=not how.allow_partial)
        grades = {key: runs for key, runs in grades.items() if key in known}
    lacking = [id for id in known if id not in grades]
    if lacking and not how.allow_partial:
        raise _incomplete(predictions, lacking, len(known), "grade")
    whole = task.source.size or 0
    if not known and len(grades) < whole and not how.allow_partial:
        raise UsageError(
            f"{predictions} has grades of {len(grades)} of the {whole} questions of {task.title}; "
            "the official script wants all, --allow-partial scores those that are there"
        )
    outcomes = []
    for key, runs in grades.items():
        sample = known.get(key, Sample(id=key))
        parts = {f"run {number}": value for number, value in enumerate(runs, 1)}
        graded = Score(fmean(runs), str(runs[0]), parts=parts if len(runs) > 1 else {})
        outcomes.append(Outcome(key, sample.group or key, sample.tags, graded))
    return Result(
        task=task.name,
        scorer=task.scorers[0].name,
        headline=task.headline,
        n=len(outcomes),
        summary=task.metrics(outcomes, {}),
        without_prediction=len(lacking),
    )
