from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from infimm_eval import logs, registry
from infimm_eval.demo import choice_rows
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import Answer, Request
from tests.conftest import Listener

Run = Callable[..., list[logs.Cell]]


class Judge(Fake):
    """Says what a function of (question number, try) returns; counts its calls."""

    def __init__(self, says: Callable[[str, int], str], **options: Any) -> None:
        super().__init__("judge", **options)
        self.verdict = says
        self.calls: list[Request] = []

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            self.calls.append(request)
            *_, run, attempt = request.id.split("/")
            yield Answer(request.id, self.verdict(run, int(attempt.removeprefix("try"))))


def test_verdicts_are_scores(run: Run) -> None:
    (cell,) = run("mmvet", judge=Judge(lambda run, attempt: "0.5"), limit=4)
    assert (cell.value, cell.n, cell.unscored) == (50.0, 4, 0)


def test_verdicts_are_replayed_without_asking(run: Run) -> None:
    judge = Judge(lambda run, attempt: "0.5")
    run("mmvet", judge=judge, limit=4)
    run("mmvet", judge=judge, limit=4)
    assert len(judge.calls) == 4


def test_an_unreadable_verdict_is_asked_again_and_hotter(run: Run) -> None:
    judge = Judge(lambda run, attempt: "well" if attempt < 3 else "1.0")
    (cell,) = run("mmvet", judge=judge, limit=1)
    assert cell.value == 100.0
    assert [call.decoding.temperature for call in judge.calls] == [0.0, 0.5, 1.0]


def test_an_unreadable_verdict_is_left_out_and_counted(run: Run) -> None:
    (cell,) = run("mmvet", judge=Judge(lambda run, attempt: "hard to say"), limit=2)
    assert (cell.value, cell.unscored, cell.complete) == (None, 2, False)


def test_a_judge_that_fails_leaves_the_sample_unscored_never_zero(run: Run) -> None:
    (cell,) = run("mmvet", judge=Fake("1.0", error_every=2), limit=4)
    assert (cell.unscored, cell.value, cell.complete) == (2, 100.0, False)


def test_several_runs_give_mean_and_deviation(run: Run) -> None:
    judge = Judge(lambda run, attempt: {"run1": "0.2", "run2": "0.4"}[run])
    (cell,) = run("mmvet", judge=judge, judge_runs=2, limit=3)
    assert cell.value == pytest.approx(30.0)
    assert cell.metrics["std"] == pytest.approx(10.0)


def test_what_a_judge_will_cost_is_said_before_it_is_asked(run: Run) -> None:
    listener = Listener()
    run("mmvet", judge=Judge(lambda run, attempt: "1"), limit=3, listener=listener)
    assert any("3 times, about" in stage for stage in listener.notes)


def test_a_judged_benchmark_without_a_judge_is_the_users_mistake(run: Run) -> None:
    with pytest.raises(UsageError, match="name one with --judge"):
        run("mmvet", limit=1)


def test_private_answers_are_not_graded(run: Run) -> None:
    from dataclasses import replace

    task = registry.load("core_mm")
    private = replace(task, sample=lambda row: replace(task.sample(row), references=()))
    (cell,) = run(private)
    assert (cell.value, cell.unanswered, cell.complete) == (None, 0, True)


def test_a_choice_that_rules_can_read_is_not_put_to_the_judge(run: Run) -> None:
    """MMBench's ``judged`` scorer: letters by rule, the undecided by the judge."""
    task = registry.scored_by(registry.load("mmbench"), "judged")
    right = {s.id: s.references[0] for s in map(task.sample, choice_rows.mmbench_rows("test"))}
    says = dict.fromkeys(list(right)[:2], "hard to tell")
    model = Fake(lambda request: says.get(request.id, right[request.id]))
    judge = Judge(lambda run, attempt: "Z")
    (cell,) = run(task, model=model, judge=judge, limit=6)
    assert {call.id.split("/")[0] for call in judge.calls} == set(says)
    assert cell.settings["protocol"]["scorer"]["name"] == "judged"
    assert cell.unscored == 0


def test_a_judges_reply_that_is_no_letter_leaves_the_choice_unscored(run: Run) -> None:
    task = registry.scored_by(registry.load("mmbench"), "judged")
    judge = Judge(lambda run, attempt: "perhaps")
    (cell,) = run(task, model=Fake("hard to tell"), judge=judge, limit=2)
    assert (cell.unscored, cell.value) == (2, None)


def test_a_missing_judge_is_missed_before_anything_is_asked(run: Run) -> None:
    model = Fake()
    with pytest.raises(UsageError, match="name one with --judge"):
        run("mmvet", model=model, limit=20)
    assert model.answered == 0


def test_a_call_that_failed_is_not_asked_again_hotter(run: Run) -> None:
    judge = Fake("0.5", error_every=1)
    (cell,) = run("mmvet", judge=judge, limit=3)
    assert (judge.answered, cell.unscored) == (3, 3)
