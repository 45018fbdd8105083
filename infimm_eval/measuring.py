"""What the answers of one cell are worth: read from the log, scored, summarised.

Needs neither the model nor its pictures, so scoring again costs nothing; knows no benchmark by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from infimm_eval import judging, log
from infimm_eval.errors import UsageError
from infimm_eval.types import (
    Model,
    Outcome,
    Record,
    Rubric,
    Sample,
    Score,
    Scorer,
    Scoring,
    Summary,
    Task,
)

UNANSWERED = Score(None, "no answer")
NO_RIGHT_ANSWER = Score(None, "no right answer")


@dataclass(frozen=True, slots=True)
class Measured:
    """The outcomes of a cell, in the order of the split, and what they add up to."""

    outcomes: Sequence[Outcome]
    summary: Summary
    ruler: Mapping[str, Any]
    """The ruler's name and, where it is a judge, the judge's settings: part of the protocol."""
    withheld: bool
    """No right answer is known: the cell is for a submission, not for a figure."""

    @property
    def unanswered(self) -> int:
        return sum(outcome.score is UNANSWERED for outcome in self.outcomes)

    @property
    def unscored(self) -> int:
        return sum(outcome.score.value is None for outcome in self.outcomes)

    @property
    def unparsed(self) -> int:
        return sum(not outcome.score.parsed for outcome in self.outcomes)

    @property
    def missing(self) -> int:
        """What keeps the cell from being complete."""
        return self.unanswered if self.withheld else self.unscored


@dataclass(frozen=True)
class Measure:
    """The ruler and metrics of a benchmark, held against what the log has of one cell."""

    task: Task
    place: log.Place
    kept: log.Log
    read: Callable[[str], str]
    """From a raw answer to the text that is scored."""
    split: Callable[[], Iterable[Sample]]
    """Every sample of the split, also those outside ``--limit``."""
    note: Callable[[str], None]
    judge: Model | None = None
    judge_runs: int = 1

    def measure(self) -> Measured:
        """Score by the benchmark's first ruler; put the headline under the others beside it."""
        name, ruler = next(iter(self.task.variants.items()))
        scoring, judge = self._score(ruler)
        outcomes = self._outcomes(scoring.scores)
        summary = self.task.metrics(outcomes, scoring.corpus)
        metrics = {**summary.metrics, **self._other_rulers(outcomes, name)}
        return Measured(
            outcomes, replace(summary, metrics=metrics), {"ruler": name, **judge}, self._withheld
        )

    def texts(self) -> Iterator[str | None]:
        """What was scored of each sample; ``None`` where there is no answer."""
        return (record.text if record else None for record in self._records())

    def _records(self) -> Iterator[Record | None]:
        for sample, answer in self.kept.answered(self.place):
            yield Record(sample, answer, self.read(answer.text)) if answer else None

    def _answered(self) -> Iterator[Record]:
        return (record for record in self._records() if record is not None)

    @cached_property
    def _withheld(self) -> bool:
        return self.task.withheld or not any(
            sample.references for sample, _ in self.kept.answered(self.place)
        )

    def _score(self, ruler: Scorer | Rubric) -> tuple[Scoring, dict[str, Any]]:
        if not isinstance(ruler, Rubric):
            return ruler(self._answered(), self.split), {}
        if self._withheld:
            return Scoring([NO_RIGHT_ANSWER for _ in self._answered()]), {}
        judge = judging.needed(self.judge, self.task.title)
        scores = judging.score(ruler, self._answered, judge, self.judge_runs, self.kept, self.note)
        facts = {"name": judge.name, **judge.settings}
        return Scoring(scores), {"judge": facts, "judge_runs": self.judge_runs}

    def _outcomes(self, scores: Iterable[Score]) -> list[Outcome]:
        """One outcome a sample; the unanswered are unscored."""
        found = iter(scores)
        return [
            Outcome(
                sample.id,
                sample.group or sample.id,
                sample.tags,
                next(found) if answer else UNANSWERED,
            )
            for sample, answer in self.kept.answered(self.place)
        ]

    def _other_rulers(self, outcomes: Sequence[Outcome], default: str) -> dict[str, float]:
        """The headline under every other ruler of the benchmark, by ``headline:ruler``."""
        found = {}
        for name, ruler in self.task.variants.items():
            if name == default or isinstance(ruler, Rubric):
                continue
            try:
                scoring = ruler(self._answered(), self.split)
            except UsageError as lacking:  # an optional package, say: the others stand without it
                self.note(f"{self.task.title} is not measured by {name!r}: {lacking}")
                continue
            scores = iter(scoring.scores)
            rescored = [
                o if o.score is UNANSWERED else replace(o, score=next(scores)) for o in outcomes
            ]
            summary = self.task.metrics(rescored, scoring.corpus)
            if self.task.headline in summary.metrics:
                found[f"{self.task.headline}:{name}"] = summary.metrics[self.task.headline]
        return found
