"""What the answers of one cell are worth: read from the log, scored, summarised.

Needs neither the model nor its pictures, so scoring again costs nothing; knows no benchmark by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from sys import intern
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
UNSCORED = Score(None, "not scored yet")
NO_RIGHT_ANSWER = Score(None, "no right answer")


@dataclass(frozen=True, slots=True)
class Measured:
    """The outcomes of a cell, in the order of the split, and what they add up to."""

    outcomes: Sequence[Outcome]
    texts: Sequence[str | None]
    """What was scored of each sample; ``None`` where there is no answer."""
    summary: Summary
    ruler: Mapping[str, Any]
    """The ruler's name and, where it is a judge, the judge's settings: part of the protocol."""
    shortened: int
    """Prompts that lost shots to the model's context."""
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
        roster: list[Outcome] = []
        texts: list[str | None] = []
        shortened: list[bool] = []
        scoring, judge = self._score(ruler, self._enrolled(roster, texts, shortened))
        outcomes = _rescored(roster, iter(scoring.scores))
        summary = self.task.metrics(outcomes, scoring.corpus)
        metrics = {**summary.metrics, **self._other_rulers(outcomes, name)}
        return Measured(
            outcomes=outcomes,
            texts=texts,
            summary=replace(summary, metrics=metrics),
            ruler={"ruler": name, **judge},
            shortened=sum(shortened),
            withheld=self._withheld,
        )

    def _answered(self) -> Iterator[Record]:
        """The answered samples, in the order of the split."""
        for sample, answer in self.kept.answered(self.place):
            if answer:
                yield Record(sample, answer, self.read(answer.text))

    def _enrolled(
        self, roster: list[Outcome], texts: list[str | None], shortened: list[bool]
    ) -> Iterator[Record]:
        """The same, while everybody is entered in the roster: the unanswered are unscored."""
        shared: dict[Any, Mapping[str, str]] = {}  # the same few tags stand on all the samples
        for sample, answer in self.kept.answered(self.place):
            group = intern(sample.group) or sample.id
            tags = shared.setdefault(tuple(sample.tags.items()), sample.tags)
            roster.append(Outcome(sample.id, group, tags, UNSCORED if answer else UNANSWERED))
            text = self.read(answer.text) if answer else None
            texts.append(text)
            shortened.append(bool(answer and answer.notes.get("dropped_shots")))
            if answer and text is not None:
                yield Record(sample, answer, text)

    @cached_property
    def _withheld(self) -> bool:
        return self.task.withheld or not any(
            sample.references for sample, _ in self.kept.answered(self.place)
        )

    def _score(
        self, ruler: Scorer | Rubric, enrolled: Iterator[Record]
    ) -> tuple[Scoring, dict[str, Any]]:
        if not isinstance(ruler, Rubric):
            return ruler(enrolled, self.split), {}
        records = list(enrolled)
        if self._withheld:
            return Scoring([NO_RIGHT_ANSWER for _ in records]), {}
        judge = judging.needed(self.judge, self.task.title)
        scores = judging.score(ruler, records, judge, self.judge_runs, self.kept, self.note)
        facts = {"name": judge.name, **judge.settings}
        return Scoring(scores), {"judge": facts, "judge_runs": self.judge_runs}

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
            rescored = _rescored(outcomes, iter(scoring.scores))
            summary = self.task.metrics(rescored, scoring.corpus)
            if self.task.headline in summary.metrics:
                found[f"{self.task.headline}:{name}"] = summary.metrics[self.task.headline]
        return found


def _rescored(outcomes: Sequence[Outcome], scores: Iterator[Score]) -> list[Outcome]:
    """The outcomes of the answered samples with other scores."""
    return [
        o if o.score is UNANSWERED else Outcome(o.id, o.group, o.tags, next(scores))
        for o in outcomes
    ]
