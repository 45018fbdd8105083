"""Model-graded scoring: ask a judge, keep every verdict, ask again where the rubric says so.

Verdicts lie in the log like answers, so scoring again asks nothing.  Knows rubrics; knows neither
benchmarks nor endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Protocol

from infimm_eval import logs
from infimm_eval.errors import UsageError
from infimm_eval.run.thinking import without_thinking
from infimm_eval.types import Answer, Model, Record, Request, Rubric, Score, Style

_CHARACTERS_A_TOKEN = 4


class Verdicts(Protocol):
    """Where verdicts are kept by the key of what was asked: a log, or memory."""

    def known(self, key: str) -> bool:
        """Whether there is a verdict of this key."""
        ...

    def answer(self, key: str) -> Answer | None:
        """The verdict of this key, if there is one."""
        ...

    def add_answer(self, key: str, answer: Answer) -> None:
        """Keep a verdict."""
        ...

    def save(self) -> None:
        """Make sure that what was kept lasts."""
        ...


@dataclass(frozen=True, slots=True)
class Judge:
    """A model that grades, how often it is asked about an answer, and where its verdicts are."""

    model: Model
    verdicts: Verdicts
    runs: int = 1

    @property
    def facts(self) -> Mapping[str, Any]:
        """Everything about the judge that can move a number."""
        return {"name": self.model.name, **self.model.settings}


@dataclass(slots=True)
class InMemory:
    """Verdicts that are kept as long as this object."""

    said: dict[str, Answer] = field(default_factory=dict)

    def known(self, key: str) -> bool:
        """Whether there is a verdict of this key."""
        return key in self.said

    def answer(self, key: str) -> Answer | None:
        """The verdict of this key, if there is one."""
        return self.said.get(key)

    def add_answer(self, key: str, answer: Answer) -> None:
        """Keep a verdict."""
        self.said[key] = answer

    def save(self) -> None:
        """Nothing: memory is as durable as it gets."""


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """Stands for a judge whose verdicts lie in a log: it says nothing new."""

    facts: Mapping[str, Any]
    title: str

    @property
    def style(self) -> Style:
        """Judges are asked."""
        return "instruct"

    @property
    def name(self) -> str:
        """The judge's."""
        return str(self.facts["name"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The judge's, as the log has them."""
        return {name: value for name, value in self.facts.items() if name != "name"}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Raises ``UsageError`` where anything is asked."""
        if next(iter(requests), None) is not None:
            raise UsageError(
                f"{self.title}: the log does not hold all verdicts of {self.name}; name a judge "
                "with --judge"
            )
        return iter(())

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Never: a judge generates."""
        raise UsageError("a judge grades answers; it cannot rank options")


def needed(judge: Judge | None, title: str) -> Judge:
    """The judge; ``UsageError`` where there is none to grade ``title``."""
    if judge is None:
        raise UsageError(
            f"{title} is graded by a judge; name one with --judge (openai:NAME with --base-url, "
            "or any local model)"
        )
    return judge


def score(
    rubric: Rubric, records: Sequence[Record], judge: Judge, say: Callable[[str], None]
) -> list[Score]:
    """One score a record: the mean over the judge's runs, each also under ``parts["run k"]``.

    A verdict that cannot be read is asked again, hotter each time, up to ``rubric.tries``.  A call
    that failed for good, or a last verdict that cannot be read, leaves the record unscored; so
    does a right answer that is not known, about which the judge is not asked.
    """
    panel = [(record, run) for record in records for run in range(judge.runs)]
    ruled = ((at, rubric.settled(record)) for at, (record, _) in enumerate(panel))
    found = {at: score for at, score in ruled if score is not None}
    answerable = (at for at, (record, _) in enumerate(panel) if record.sample.references)
    open_ = [at for at in answerable if at not in found]
    for attempt in range(rubric.tries):
        asked = {at: _request(rubric, *panel[at], attempt) for at in open_}
        verdicts = _verdicts(asked, judge, say)
        scores = {at: rubric.read(panel[at][0], said) for at, said in verdicts.items()}
        last = attempt == rubric.tries - 1
        found |= {at: s for at, s in scores.items() if last or s.value is not None}
        # A call that failed waits for the next run: only what was said badly is asked again.
        open_ = [at for at in scores if at not in found]
    unread = sum(score.value is None for score in found.values())
    if unread:
        say(f"{unread} verdicts of {judge.model.name} could not be read")
    return [_mean([found.get(at) for at in spots]) for spots in _rows(len(panel), judge.runs)]


@dataclass(frozen=True, slots=True)
class _Call:
    at: int
    key: str
    request: Request


def _verdicts(
    asked: dict[int, Request], judge: Judge, say: Callable[[str], None]
) -> dict[int, str]:
    """What the judge says, from the log where it has said it before."""
    kept, asker = judge.verdicts, logs.asker("generate", judge.facts)
    calls = [
        _Call(at, logs.request_key(asker, r.id, r, logs.dump_prompt(r.prompt)), r)
        for at, r in asked.items()
    ]
    new = {call.request.id: call for call in calls if not kept.known(call.key)}
    if new:
        tokens = sum(_characters(call.request) for call in new.values()) // _CHARACTERS_A_TOKEN
        say(f"asking {judge.model.name} {len(new)} times, about {tokens:,} tokens")
    for answer in judge.model.generate(call.request for call in list(new.values())):
        if answer.finish != "error":
            kept.add_answer(new[answer.id].key, answer)
    kept.save()
    said = {call.at: kept.answer(call.key) for call in calls}
    return {at: without_thinking(a.text) for at, a in said.items() if a is not None}


def _request(rubric: Rubric, record: Record, run: int, attempt: int) -> Request:
    decoding = replace(
        rubric.decoding, temperature=rubric.decoding.temperature + attempt * rubric.heat
    )
    name = f"{record.sample.id}/run{run + 1}/try{attempt + 1}"
    return Request(name, rubric.ask(record, attempt), decoding)


def _characters(request: Request) -> int:
    turns = request.prompt.turns
    return sum(len(part) for turn in turns for part in turn.content if isinstance(part, str))


def _rows(length: int, runs: int) -> Iterator[range]:
    return (range(start, start + runs) for start in range(0, length, runs))


def _mean(verdicts: list[Score | None]) -> Score:
    values = [v.value for v in verdicts if v is not None and v.value is not None]
    first = next((v for v in verdicts if v is not None), Score(None, "no verdict"))
    if len(values) < len(verdicts):
        return replace(first, value=None)
    if len(verdicts) == 1:
        return first
    runs = {f"run {number}": value for number, value in enumerate(values, 1)}
    return replace(first, value=fmean(values), parts={**first.parts, **runs})
