"""From answers to figures, the one way there is: a run's answers and anybody's predictions file
are scored here, read as (sample, answer) pairs in the order of the split.

Needs neither the model nor its pictures, so scoring again costs nothing; knows no benchmark by
name, no log and no file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias, overload

from infimm_eval import scorers
from infimm_eval.errors import UsageError
from infimm_eval.packed import Packed
from infimm_eval.run import model_graded
from infimm_eval.scorers.digest import digest
from infimm_eval.types import (
    Answer,
    CorpusFunction,
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

Pairs: TypeAlias = Callable[[], Iterable[tuple[Sample, Answer | None]]]
"""Samples with their answers (``None``: there is none), in the order of the split, from the
start."""

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
    """Everybody who was asked, under the scores of one scorer; each is made when it is read."""

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
class Scored:
    """The outcomes of a cell or a file, in the order of the split, and what they add up to."""

    outcomes: Outcomes
    summary: Summary
    counts: Counts
    withheld: bool
    """No right answer is known: the cell is for a submission, not for a figure."""

    @property
    def texts(self) -> Iterator[str | None]:
        """What was scored of each sample; ``None`` where there is no answer."""
        return (asked.text for asked in self.outcomes.asked)

    @cached_property
    def unscored(self) -> int:
        """Samples without a score."""
        return sum(score.value is None for score in self.outcomes.scores)

    @cached_property
    def unparsed(self) -> int:
        """Answers in which the scorer found none."""
        return sum(not score.parsed for score in self.outcomes.scores)

    @property
    def missing(self) -> int:
        """What keeps the cell from being complete."""
        return self.counts.unanswered if self.withheld else self.unscored


@dataclass(slots=True)
class Counts:
    """What is counted while answers are read."""

    unanswered: int = 0
    cut: int = 0
    """Answers that the limit of new tokens ended."""
    empty: int = 0
    """Answers of which nothing is left to score."""
    shortened: int = 0
    lost_shots: int = 0
    """Prompts that lost shots to the model's context."""

    def add(self, answer: Answer, text: str) -> None:
        """Count one answer, of which ``text`` is scored."""
        self.cut += answer.finish == "length"
        self.empty += not text.strip()
        lost = answer.notes.get("dropped_shots") or 0
        self.shortened += bool(lost)
        self.lost_shots += lost


@dataclass(frozen=True, kw_only=True)
class Scoreboard:
    """The scorers and metrics of a benchmark, held against answers.

    The first scorer makes the headline; the headline under the others stands beside it, as
    ``accuracy:evalai``.
    """

    task: Task
    pairs: Pairs
    read: Callable[[str], str]
    """From a raw answer to the text that is scored."""
    learned: Callable[[Scorer], Any]
    """What a scorer has learned of the whole split, also of samples outside ``--limit``."""
    note: Callable[[str], None]
    judge: model_graded.Judge | None = None

    def score(self) -> Scored:
        """Read the answers once for every scorer that looks at one at a time."""
        scorer, *others = self.task.scorers
        others = [other for other in others if other.beside]
        beside = filter(_looks_at_one, others)
        roster = _Roster({s.name: (scorers.score_one(s), Packed(Score)) for s in beside})
        scoring = self._score(scorer, self._enrolled(roster))
        self._look_at(scorer, scoring, roster)
        outcomes = roster.outcomes(scoring.scores)
        summary = self.task.metrics(outcomes, scoring.corpus)
        for note in summary.notes:
            self.note(f"{self.task.title}: {note}")
        metrics = dict(summary.metrics)
        for other in others:
            if (value := self._headline(other, roster)) is not None:
                metrics[f"{self.task.headline}:{other.name}"] = value
        return Scored(
            outcomes=outcomes,
            summary=replace(summary, metrics=metrics),
            counts=roster.counts,
            withheld=self._withheld,
        )

    def _answered(self) -> Iterator[Record]:
        """The answered samples, in the order of the split."""
        for sample, answer in self.pairs():
            if answer:
                yield Record(sample, answer, self.read(answer.text))

    def _enrolled(self, roster: _Roster) -> Iterator[Record]:
        """The same, while everybody is entered in the roster."""
        for sample, answer in self.pairs():
            text = self.read(answer.text) if answer else None
            roster.asked.append(Asked(sample.id, sample.group or sample.id, sample.tags, text))
            if answer is None or text is None:
                roster.counts.unanswered += 1
                continue
            roster.counts.add(answer, text)
            record = Record(sample, answer, text)
            for score, scores in roster.beside.values():
                scores.append(score(record))
            yield record

    @cached_property
    def _withheld(self) -> bool:
        return self.task.withheld or not any(sample.references for sample, _ in self.pairs())

    def _score(self, scorer: Scorer, records: Iterator[Record]) -> Scoring:
        rubric = scorer.function
        if not isinstance(rubric, Rubric):
            return scorers.score(scorer, records, self.learned(scorer))
        graded = list(records)
        if self._withheld:
            return Scoring([NO_RIGHT_ANSWER for _ in graded])
        judge = model_graded.needed(self.judge, self.task.title)
        return Scoring(model_graded.score(rubric, graded, judge, self.note))

    def _look_at(self, scorer: Scorer, scoring: Scoring, roster: _Roster) -> None:
        """Say what a scorer could not do; ``UsageError`` where its scores belong to no answers."""
        for note in scoring.notes:
            self.note(f"{self.task.title}: {note}")
        answered = len(roster.asked) - roster.counts.unanswered
        if len(scoring.scores) != answered:
            raise UsageError(
                f"the scorer {scorer.name!r} of {self.task.title} gives {len(scoring.scores)} "
                f"scores for {answered} answers"
            )
        failed = [s.read_as for s in scoring.scores if s.read_as.startswith(scorers.FAILED)]
        if failed:
            self.note(f"{self.task.title}, {scorer.name}: {len(failed)} times {failed[0]}")

    def _headline(self, scorer: Scorer, roster: _Roster) -> float | None:
        """The headline under another scorer, which may have read the answers already."""
        if isinstance(scorer.function, Rubric):
            return None
        _, scores = roster.beside.get(scorer.name, (None, None))
        try:
            scoring = (
                scorers.score(scorer, self._answered(), self.learned(scorer))
                if scores is None
                else Scoring(scores)
            )
        except UsageError as lacking:  # an optional package, say: the others stand without it
            self.note(f"{self.task.title} is not scored by {scorer.name!r}: {lacking}")
            return None
        summary = self.task.metrics(roster.outcomes(scoring.scores), scoring.corpus)
        return summary.metrics.get(self.task.headline)


def facts(task: Task, judge: model_graded.Judge | None) -> dict[str, Any]:
    """What a protocol says of how answers are scored: the scorer's name, version and digest, and
    the judge where one is asked."""
    scorer = task.scorers[0]
    said: dict[str, Any] = {
        "scorer": {"name": scorer.name, "version": scorer.version, "digest": digest(scorer)}
    }
    if isinstance(scorer.function, Rubric) and judge is not None:
        said |= {"judge": judge.facts, "judge_runs": judge.runs}
    return said


def _looks_at_one(scorer: Scorer) -> bool:
    return not isinstance(scorer.function, CorpusFunction | Rubric)


@dataclass(slots=True)
class _Roster:
    """What one reading of a cell's answers leaves of every sample, in the order of the split."""

    beside: Mapping[str, tuple[Callable[[Record], Score], Packed[Score]]]
    """The other scorers that share the reading, by name, with the scores of the answered."""
    asked: Packed[Asked] = field(default_factory=lambda: Packed(Asked))
    counts: Counts = field(default_factory=Counts)

    def outcomes(self, scores: Sequence[Score]) -> Outcomes:
        """Everybody's, from the scores of the answered."""
        if self.counts.unanswered:
            given = iter(scores)
            everybody = (UNANSWERED if one.text is None else next(given) for one in self.asked)
            scores = Packed(Score, everybody)
        return Outcomes(self.asked, scores)
