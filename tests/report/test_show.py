"""Samples in a terminal."""

from __future__ import annotations

import pytest

from infimm_eval import report
from infimm_eval.errors import UsageError
from tests.report.made import HOSTILE, Made, MakeRun


def test_a_sample_shows_what_was_asked_said_read_and_expected(make_run: MakeRun) -> None:
    run = make_run("run", Made(answers=("a long answer", "two", "a dog", "???")))
    block = next(report.show(run, prompt=True))
    assert block.startswith("VQAv2 · 0 shots · q0: 100.0\n")
    assert "  picture   val/0.jpg" in block
    assert "  question  What is in picture 0?" in block
    assert "  prompt    [picture: val/0.jpg]Question:0? Short answer:" in block
    assert "  answer    a long answer\n" in block
    assert "  read as   a long ans\n" in block
    assert "  expected  yes / maybe / a long answer" in block


def test_filters_narrow_by_task_shots_score_id_and_text(make_run: MakeRun) -> None:
    run = make_run("run", Made(), Made(shots=4), Made(task="okvqa", title="OK-VQA"))
    assert len(list(report.show(run))) == 12
    assert len(list(report.show(run, task="vqav2", shots=4))) == 4
    assert [b.splitlines()[0] for b in report.show(run, task="okvqa", score="wrong")] == [
        "OK-VQA · 0 shots · q2: 0.0"
    ]
    assert [b.split(": ")[1][:8] for b in report.show(run, score="unscored")] == ["unscored"] * 3
    assert len(list(report.show(run, score="partial", task="vqav2"))) == 2
    assert len(list(report.show(run, id="q1"))) == 3
    assert len(list(report.show(run, search="A DOG"))) == 3
    assert len(list(report.show(run, limit=5))) == 5


def test_a_filter_that_nothing_can_fit_says_what_there_is(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(UsageError, match="it has vqav2 at 0 shots, vqav2 at 4 shots"):
        next(report.show(run, task="coco"))
    with pytest.raises(UsageError, match="did you mean 'wrong'"):
        next(report.show(run, score="wron"))


def test_control_characters_are_spelled_out(make_run: MakeRun) -> None:
    run = make_run("run", Made(answers=HOSTILE[-4:]))
    shown = "\n".join(report.show(run, prompt=True))
    assert "\x1b" not in shown and r"\u001b[31mred" in shown
    assert "\u202e" not in shown and "\u2028" not in shown
