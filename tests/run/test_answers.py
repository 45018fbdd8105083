"""What a model says around its answer, and scorers that fail."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import (
    Answer,
    CorpusFunction,
    Record,
    Request,
    Score,
    Scorer,
    Scoring,
    Source,
)
from tests.conftest import Listener
from tests.run.models import Run


@pytest.mark.parametrize(
    ("said", "scored"),
    [
        ("<think>no, no</think> yes", "yes"),
        ("no </think>\nyes", "yes"),
        ("<think>yes, of course, but", ""),
        ("yes", "yes"),
    ],
)
def test_thoughts_are_no_part_of_an_answer_and_stay_in_the_log(
    run: Run, tmp_path: Path, said: str, scored: str
) -> None:
    (cell,) = run("vqav2", model=Fake(said), limit=2, style="instruct")
    assert cell.settings["protocol"]["thinking"] == "removed"
    assert cell.empty == (0 if scored else 2)
    with logs.Log(tmp_path / "run") as log:
        for entry in log.entries(cell.key):
            assert entry.answer and (entry.answer.text, entry.said) == (said, scored)


def test_thoughts_may_be_kept_and_the_protocol_says_so(run: Run, tmp_path: Path) -> None:
    (cell,) = run("vqav2", model=Fake("<think>a</think>b"), limit=1, thinking="kept")
    assert cell.settings["protocol"]["thinking"] == "kept"
    with logs.Log(tmp_path / "run") as log:
        (entry,) = log.entries(cell.key)
    assert entry.said and "think" in entry.said


def test_a_scorer_that_fails_for_one_answer_leaves_that_one_unscored(
    run: Run, tmp_path: Path
) -> None:
    def picky(record: Record) -> Any:
        number = int(record.sample.id) % 4
        return [Score(1.0), 1 / (number - 1) if number == 1 else 1.0, Score(float("nan"))][
            min(number, 2)
        ]

    listener, task = Listener(), registry.load("vqav2")
    rows = [row for row, _ in zip(task.source.demo(), range(8), strict=False)]
    numbered = replace(
        task,
        source=Source(demo=lambda: ({**row, "question_id": at} for at, row in enumerate(rows))),
        scorers=(Scorer(name="picky", function=picky),),
    )
    (cell,) = run(numbered, model=Fake("yes"), listener=listener)
    assert (cell.value, cell.unscored, cell.finished) == (100.0, 6, False)
    assert any("6 times the scorer failed: ZeroDivisionError" in note for note in listener.notes)


def test_a_scorer_of_too_few_scores_is_named(run: Run) -> None:
    short = CorpusFunction(score=lambda records, learned: Scoring(list(records)[:1] and [Score(1)]))
    task = replace(registry.load("vqav2"), scorers=(Scorer(name="short", function=short),))
    with pytest.raises(UsageError, match="'short' of VQAv2 gives 1 scores for 5 answers"):
        run(task, limit=5)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"text": 5}, "the text of an answer is 5"),
        ({"finish": "eos"}, "finish 'eos' is none of stop, length, error"),
    ],
)
def test_an_answer_that_breaks_the_protocol_fails_alone(
    run: Run, wrong: dict[str, Any], said: str
) -> None:
    class Odd(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, answer in enumerate(super().generate(requests)):
                yield replace(answer, **wrong) if number == 2 else answer

    listener = Listener()
    (cell,) = run("vqav2", model=Odd("yes"), limit=6, listener=listener)
    assert cell.unanswered == 1 and any(said in note for note in listener.notes)


@pytest.mark.slow
def test_a_scorer_s_program_is_started_while_a_short_run_is_asked(run, monkeypatch, tmp_path):
    task = registry.load("vqav2")
    events: list[str] = []

    def score(records, _):
        events.append("scored")
        return Scoring([Score(1.0)] * len(list(records)))

    function = CorpusFunction(score=score, warm=lambda: events.append("warm"))
    slow = replace(task, scorers=(replace(task.scorers[0], function=function),))

    class Noting(Fake):
        def _next(self, request):
            events.append("asked")
            return super()._next(request)

    run(slow, slow, model=Noting(), limit=2, shots=(0,), folder=tmp_path / "short")
    assert events[0] == "warm" and events.count("warm") == 1 and "scored" in events
    events.clear()
    monkeypatch.setattr(sys.modules["infimm_eval.run.run"], "SHORT", 1)
    run(slow, model=Noting(), limit=2, shots=(0,), folder=tmp_path / "long")
    assert "warm" not in events and "scored" in events
