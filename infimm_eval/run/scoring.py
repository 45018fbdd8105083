"""What the answers of one cell are worth: read from the log, scored, summarised.

Needs neither the model nor its pictures, so scoring again costs nothing; knows no benchmark by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

from infimm_eval import judging, log
from infimm_eval.errors import UsageError
from infimm_eval.packed import Packed
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
NO_RIGHT_ANSWER = Score(None, "no right answer")


@dataclass(slots=True)  # made anew for every reading: frozen, that would take twice as long
class Asked:
    """What scoring remembers of a sample."""

    id: str
    group: str
    tags: Mapping[str, str]
    text: str | None
    """What is scored; ``None``: there is no answer."""


@dataclass(frozen=True, slots=True)
class Outcomes(Sequence[Outcome]):
    """Everybody who was asked, under the scores of one ruler; each is made when it is read."""

    asked: Sequence[Asked]
    scores: Sequence[Score]

    def __len__(self) -> int:
        return len(self.asked)

    def __iter__(self) -> Iterator[Outcome]:
        return map(_outcome, self.asked, self.scores)

    @overload
    def __getitem__(self, at: int) -> Outcome: ...
    @overload
    def __getitem__(self, at: slice) -> list[Outcome]: ...
    def __getitem__(self, at: int | slice) -> Outcome | list[Outcome]:
        if isinstance(at, slice):
            return list(map(_outcome, self.asked[at], self.scores[at]))
        return _outcome(self.asked[at], self.scores[at])


def _outcome(asked: Asked, score: Score) -> Outcome:
    return Outcome(asked.id, asked.group, asked.tags, score)


@dataclass(frozen=True)
class Measured:
    """The outcomes of a cell, in the order of the split, and what they add up to."""

    outcomes: Outcomes
    summary: Summary
    ruler: Mapping[str, Any]
    """The ruler's name and, where it is a judge, the judge's settings: part of the protocol."""
    unanswered: int
    shortened: int
    """Prompts that lost shots to the model's context."""
    withheld: bool
    """No right answer is known: the cell is for a submission, not for a figure."""

    @property
    def texts(self) -> Iterator[str | None]:
        """What was scored of each sample; ``None`` where there is no answer."""
        return (asked.text for asked in self.outcomes.asked)

    @cached_property
    def unscored(self) -> int:
        return sum(score.value is None for score in self.outcomes.scores)

    @cached_property
    def unparsed(self) -> int:
        return sum(not score.parsed for score in self.outcomes.scores)

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
        beside = {other: each for other, each in others if isinstance(each, Each)}
        roster = _Roster({other: (each, Packed(Score)) for other, each in beside.items()})
        scoring, judge = self._score(ruler, self._enrolled(roster))
        outcomes = roster.outcomes(scoring.scores)
        summary = self.task.metrics(outcomes, scoring.corpus)
        metrics = dict(summary.metrics)
        for other, another in others:
            if (value := self._headline(other, another, roster)) is not None:
                metrics[f"{self.task.headline}:{other}"] = value
        return Measured(
            outcomes=outcomes,
            summary=replace(summary, metrics=metrics),
            ruler={"ruler": name, **judge},
            unanswered=roster.unanswered,
            shortened=roster.shortened,
            withheld=self._withheld,
        )

    def _answered(self) -> Iterator[Record]:
        """The answered samples, in the order of the split."""
        for sample, answer in self.kept.answered(self.place):
            if answer:
                yield Record(sample, answer, self.read(answer.text))

    def _enrolled(self, roster: _Roster) -> Iterator[Record]:
        """The same, while everybody is entered in the roster."""
        for sample, answer in self.kept.answered(self.place):
            text = self.read(answer.text) if answer else None
            roster.asked.append(Asked(sample.id, sample.group or sample.id, sample.tags, text))
            if answer is None or text is None:
                roster.unanswered += 1
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

    def _headline(self, name: str, ruler: Scorer | Rubric, roster: _Roster) -> float | None:
        """The headline under another ruler, which may have read the answers already."""
        if isinstance(ruler, Rubric):
            return None
        _, scores = roster.beside.get(name, (None, None))
        try:
            scoring = ruler(self._answered(), self.split) if scores is None else Scoring(scores)
        except UsageError as lacking:  # an optional package, say: the others stand without it
            self.note(f"{self.task.title} is not measured by {name!r}: {lacking}")
            return None
        summary = self.task.metrics(roster.outcomes(scoring.scores), scoring.corpus)
        return summary.metrics.get(self.task.headline)


@dataclass(slots=True)
class _Roster:
    """What one reading of a cell's answers leaves of every sample, in the order of the split."""

    beside: Mapping[str, tuple[Each, Packed[Score]]]
    """The other rulers that can share the reading, by name, with the scores of the answered."""
    asked: Packed[Asked] = field(default_factory=lambda: Packed(Asked))
    unanswered: int = 0
    shortened: int = 0

    def outcomes(self, scores: Sequence[Score]) -> Outcomes:
        """Everybody's, from the scores of the answered."""
        if self.unanswered:
            given = iter(scores)
            everybody = (UNANSWERED if one.text is None else next(given) for one in self.asked)
            scores = Packed(Score, everybody)
        return Outcomes(self.asked, scores)
