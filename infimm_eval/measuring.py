"""What the answers of one cell are worth: read from the log, scored, summarised.

Needs neither the model nor its pictures, so scoring again costs nothing; knows no benchmark by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from sys import intern
from typing import Any

from infimm_eval import judging, log
from infimm_eval.errors import UsageError
from infimm_eval.scorers import Each
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
        (name, ruler), *others = self.task.variants.items()
        roster = _Roster({other: (each, []) for other, each in others if isinstance(each, Each)})
        scoring, judge = self._score(ruler, self._enrolled(roster))
        outcomes = _rescored(roster.outcomes, scoring.scores)
        summary = self.task.metrics(outcomes, scoring.corpus)
        metrics = dict(summary.metrics)
        for other, beside in others:
            _, scores = roster.beside.get(other, (None, None))
            if (value := self._headline(other, beside, outcomes, scores)) is not None:
                metrics[f"{self.task.headline}:{other}"] = value
        return Measured(
            outcomes=outcomes,
            texts=roster.texts,
            summary=replace(summary, metrics=metrics),
            ruler={"ruler": name, **judge},
            shortened=roster.shortened,
            withheld=self._withheld,
        )

    def _answered(self) -> Iterator[Record]:
        """The answered samples, in the order of the split."""
        for sample, answer in self.kept.answered(self.place):
            if answer:
                yield Record(sample, answer, self.read(answer.text))

    def _enrolled(self, roster: _Roster) -> Iterator[Record]:
        """The same, while everybody is entered in the roster: the unanswered are unscored."""
        shared: dict[Any, Mapping[str, str]] = {}  # mostly the same few tags on all the samples
        for sample, answer in self.kept.answered(self.place):
            group = intern(sample.group) or sample.id
            tags = shared.setdefault(tuple(sample.tags.items()), sample.tags)
            score = UNSCORED if answer else UNANSWERED
            text = self.read(answer.text) if answer else None
            roster.outcomes.append(Outcome(sample.id, group, tags, score))
            roster.texts.append(text)
            if answer is None or text is None:
                continue
            roster.shortened += bool(answer.notes.get("dropped_shots"))
            record = Record(sample, answer, text)
            for each, scores in roster.beside.values():
                scores.append(each.rule(record))
            yield record

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

    def _headline(
        self,
        name: str,
        ruler: Scorer | Rubric,
        outcomes: Sequence[Outcome],
        scores: Sequence[Score] | None,
    ) -> float | None:
        """The headline under another ruler; ``scores`` where it has read the answers already."""
        if isinstance(ruler, Rubric):
            return None
        try:
            scoring = ruler(self._answered(), self.split) if scores is None else Scoring(scores)
        except UsageError as lacking:  # an optional package, say: the others stand without it
            self.note(f"{self.task.title} is not measured by {name!r}: {lacking}")
            return None
        summary = self.task.metrics(_rescored(outcomes, scoring.scores), scoring.corpus)
        return summary.metrics.get(self.task.headline)


@dataclass(slots=True)
class _Roster:
    """What one reading of a cell's answers leaves of every sample, in the order of the split."""

    beside: Mapping[str, tuple[Each, list[Score]]]
    """The other rulers that can share the reading, by name."""
    outcomes: list[Outcome] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    shortened: int = 0


def _rescored(outcomes: Sequence[Outcome], scores: Iterable[Score]) -> list[Outcome]:
    """The outcomes of the answered samples with other scores."""
    given = iter(scores)
    return [
        o if o.score is UNANSWERED else Outcome(o.id, o.group, o.tags, next(given))
        for o in outcomes
    ]
