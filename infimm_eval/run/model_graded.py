"""Score answers with another model: ask the judge, keep every verdict, ask again where it says so.

Verdicts lie in the log like answers, so scoring again asks nothing.  Knows rubrics; knows neither
benchmarks nor endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from infimm_eval import log
from infimm_eval.errors import UsageError
from infimm_eval.types import Model, Record, Request, Rubric, Score

_CHARACTERS_A_TOKEN = 4


def needed(judge: Model | None, title: str) -> Model:
    """The judge; ``UsageError`` where there is none to grade ``title``."""
    if judge is None:
        raise UsageError(
            f"{title} is graded by a judge; name one with --judge (openai:NAME with --base-url, "
            "or any local model)"
        )
    return judge


def score(
    rubric: Rubric,
    records: Sequence[Record],
    judge: Model,
    runs: int,
    kept: log.Log,
    say: Callable[[str], None],
) -> list[Score]:
    """One score a record: the mean over ``runs`` verdicts, each also under ``parts["run k"]``.

    A verdict that cannot be read is asked again, hotter each time, up to ``rubric.tries``.  A call
    that failed for good, or a last verdict that cannot be read, leaves the record unscored; so
    does a right answer that is not known, about which the judge is not asked.
    """
    panel = [(record, run) for record in records for run in range(runs)]
    ruled = ((place, rubric.settled(record)) for place, (record, _) in enumerate(panel))
    found = {place: score for place, score in ruled if score is not None}
    answerable = (place for place, (record, _) in enumerate(panel) if record.sample.references)
    open_ = [place for place in answerable if place not in found]
    for attempt in range(rubric.tries):
        asked = {place: _request(rubric, *panel[place], attempt) for place in open_}
        verdicts = _verdicts(asked, judge, kept, say)
        scores = {place: rubric.read(panel[place][0], said) for place, said in verdicts.items()}
        last = attempt == rubric.tries - 1
        found |= {place: s for place, s in scores.items() if last or s.value is not None}
        # A call that failed waits for the next run: only what was said badly is asked again.
        open_ = [place for place in scores if place not in found]
    return [_mean([found.get(place) for place in places]) for places in _rows(len(panel), runs)]


@dataclass(frozen=True, slots=True)
class _Call:
    place: int
    key: str
    request: Request


def _verdicts(
    asked: dict[int, Request], judge: Model, kept: log.Log, say: Callable[[str], None]
) -> dict[int, str]:
    """What the judge says, from the log where it has said it before."""
    asker = log.asker("generate", {"name": judge.name, **judge.settings})
    calls = [
        _Call(place, log.request_key(asker, request, log.dump_prompt(request.prompt)), request)
        for place, request in asked.items()
    ]
    new = {call.request.id: call for call in calls if not kept.known(call.key)}
    if new:
        tokens = sum(_characters(call.request) for call in new.values()) // _CHARACTERS_A_TOKEN
        say(f"asking {judge.name} {len(new)} times, about {tokens:,} tokens")
    for answer in judge.generate(call.request for call in list(new.values())):
        if answer.finish != "error":
            kept.add_answer(new[answer.id].key, answer)
    kept.save()
    said = {call.place: kept.answer(call.key) for call in calls}
    return {place: answer.text for place, answer in said.items() if answer is not None}


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
