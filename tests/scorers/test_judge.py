"""What a judge is asked, and how its verdict is read."""

from __future__ import annotations

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.scorers import judge
from infimm_eval.scorers.fixed import Unseen
from infimm_eval.types import Answer, Record, Sample
from tasks.core_mm.scorers import self_graded
from tasks.mmvet.metrics import total as mmvet_total
from tasks.mmvet.scorers import graded
from tests.scorers.cases import outcomes, read_json, real, record


def _asked(scorer, said, attempt=0, references=("3<AND>4",)):
    sample = Sample(id="v1_0", question=(Unseen("x.png"), "What is x?"), references=references)
    (turn,) = scorer.function.ask(Record(sample, Answer("v1_0", said), said), attempt).turns
    return turn.content[0]


def test_mm_vets_judge_completes_a_table_of_seven_graded_rows():
    *table, blank, row = _asked(graded(), "x = 3").split("\n")
    rows = [line.split(" | ") for line in table if " | " in line][2:]
    assert [cells[-1] for cells in rows] == ["0.0", "0.5", "0.5", "0.5", "1.0", "0.4", "1.0"]
    assert blank == "" and row == "<image>What is x? | 3 <AND> 4 | x = 3 | "


def test_from_the_second_try_on_the_judge_is_reminded_that_a_digit_is_wanted():
    scorer = graded()
    first, second = _asked(scorer, "x = 3"), _asked(scorer, "x = 3", attempt=1)
    assert second == first + "\nPredict the correctness of the answer (digit): "
    assert (
        scorer.function.tries,
        scorer.function.heat,
        scorer.function.decoding.max_new_tokens,
    ) == (5, 0.5, 3)


def test_another_table_may_stand_before_the_row():
    assert _asked(graded("Q | T | P | C\n"), "4").startswith("Q | T | P | C\n\n<image>What")


def test_our_own_rubric_shows_the_answer_and_the_steps_that_lead_to_it():
    text = _asked(self_graded, "It will fall.", references=("It falls", "It is tilted"))
    assert "Reference answer: It falls\nReference step 1: It is tilted\n" in text
    assert "Answer to grade: It will fall.\n" in text


@pytest.mark.parametrize(
    ("verdict", "grade"), [("0.7", 0.7), ("1", 1.0), (" 0.5 because", 0.5), ("0.0\n", 0.0)]
)
def test_the_first_word_of_a_verdict_is_the_grade(verdict, grade):
    assert judge.read_grade(record("x"), verdict).value == grade


@pytest.mark.parametrize("verdict", ["", "  ", "good", "1.5", "-0.1", "nan", "Score: 1", "0.5."])
def test_an_unreadable_verdict_leaves_the_answer_unscored(verdict):
    score = judge.read_grade(record("x"), verdict)
    assert score.value is None and not score.parsed


def test_a_question_without_an_answer_cannot_be_graded():
    with pytest.raises(UsageError, match="question v1_0 has no answer to grade against"):
        _asked(self_graded, "x", references=())


def test_verdicts_of_gpt4_add_up_as_published():
    grades = read_json(real("mmvet", "llava-v1.5-7b_gpt-4-grade-1runs.json"))
    table = real("mmvet", "llava-v1.5-7b_gpt-4-cap-score-1runs.csv").read_text().splitlines()
    published = dict(zip(table[0].split(","), table[-1].split(","), strict=True))
    asked = [record("", id=name, tags={"capability": "rec"}) for name in grades]
    found = [judge.read_grade(r, grades[r.sample.id]["content"][0]) for r in asked]
    assert [score.value for score in found] == [row["score"][0] for row in grades.values()]
    total = mmvet_total(outcomes(asked, found), {}).metrics["total"]
    assert round(total, 1) == float(published["total"])
