"""The rule-based judge: it reads both forms of grading prompt and knows when it cannot."""

import pytest

from infimm_eval.demo.judge import verdict
from infimm_eval.types import Answer, Record, Rubric, Sample, Turn
from tasks.core_mm.scorers import self_graded
from tasks.mmvet.scorers import graded


def grade(rubric: Rubric, truth: str, text: str) -> float | None:
    sample = Sample(id="1", question=("What is there?",), references=(truth,))
    record = Record(sample, Answer("1", text), text)
    turn = rubric.ask(record, 0).turns[-1]
    assert isinstance(turn, Turn)
    (prompt,) = turn.content
    assert isinstance(prompt, str)
    return rubric.read(record, verdict(prompt)).value


@pytest.mark.parametrize("rubric", [graded().function, self_graded.function])
@pytest.mark.parametrize(
    ("truth", "text", "score"),
    [
        ("small<AND>red<AND>circle", "a small red circle", 1.0),
        ("small<AND>red<AND>circle", "a small blue circle", 0.7),
        ("3<OR>three", "Three.", 1.0),
        ("3<OR>three", "13", 0.0),
        ("red", "", 0.0),
    ],
)
def test_the_share_of_wanted_parts_is_the_grade(
    rubric: Rubric, truth: str, text: str, score: float
) -> None:
    assert grade(rubric, truth, text) == score


def test_a_prompt_in_no_known_form_gets_a_verdict_that_no_rubric_can_read() -> None:
    assert verdict("Is this good?") == ""
