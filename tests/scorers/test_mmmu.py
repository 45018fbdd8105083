"""MMMU's choices and open questions."""

from __future__ import annotations

import pytest

from infimm_eval.types import Outcome, Score
from tasks.mmmu import TASK
from tasks.mmmu import scorers as mmmu
from tests.scorers.cases import golden, outcomes, percent, read_json, real, record, scores

GOLDEN = golden("mmmu_parsing")


def test_choices_are_read_as_the_official_script_does_and_never_guessed():
    for case in GOLDEN["multiple_choice"]:
        heard = mmmu.read_choice(case["response"], case["index2ans"])
        assert heard == (case["parsed"] or ""), case["id"]
        assert (heard == "") == case["random_fallback"], case["id"]


def test_open_answers_mean_what_the_official_script_takes_them_for():
    for case in GOLDEN["open"]:
        heard = mmmu.read_open(case["response"])
        named = {repr(meaning) if isinstance(meaning, float) else meaning for meaning in heard}
        assert named == set(case["parsed_set"]), case["id"]
        for name, right in case["correct_for"].items():
            gold = GOLDEN["golds"][name]
            gold = gold if isinstance(gold, list) else [gold]
            assert mmmu.agrees(heard, gold) == right, (case["id"], name)


def test_an_empty_tail_wins_only_until_the_next_clue():
    # "so " leaves "it is", "is " leaves nothing: nothing is kept of the first line
    assert mmmu.read_open("so it is \nresult 7") == [7.0, 7.0]


def test_an_undecided_choice_is_wrong_and_carries_what_guessing_is_worth():
    asked = [record(said, ["B"], options=["cat", "dog", "cow"]) for said in ("B", "C", "no idea")]
    found = [(s.value, s.parsed, s.parts["expected"]) for s in scores(mmmu.official, asked)]
    assert found == [(1.0, True, 1.0), (0.0, True, 0.0), (0.0, False, 1 / 3)]


def test_withheld_answers_leave_both_kinds_unscored():
    asked = [record("B", options=["cat", "dog"]), record("7")]
    assert [score.value for score in scores(mmmu.official, asked)] == [None, None]


def test_the_official_dice_fall_by_subject_whatever_the_order_of_the_records():
    def asked(subject, number):
        tags = {"subject": subject}
        return record("?", ["A"], id=f"{subject}{number}", options="abcd", tags=tags)

    art, math = [[asked(s, n) for n in range(20)] for s in ("Art", "Math")]
    there = scores(mmmu.official_seed42, art + math)
    back = scores(mmmu.official_seed42, math + art)
    assert there == back[20:] + back[:20]
    assert {score.read_as for score in there} == set("ABCD")


def _qwen_vl():
    return [
        record(
            row["response"],
            row["answer"] if isinstance(row["answer"], list) else [row["answer"]],
            id=row["id"],
            options=row["index2ans"].values() if "index2ans" in row else (),
            tags={"subject": folder.name},
        )
        for folder in sorted(real("mmmu", "qwen_vl").iterdir())
        for row in read_json(folder / "output.json")
    ]


def test_qwen_vl_scores_as_the_official_script_prints_with_its_own_dice():
    found = scores(mmmu.official_seed42, _qwen_vl())
    assert percent(found) == pytest.approx(100 * 325 / 900)
    assert round(percent(found), 2) == 36.11


def test_qwen_vl_without_dice_shows_what_they_are_worth():
    asked = _qwen_vl()
    summary = TASK.metrics(outcomes(asked, scores(mmmu.official, asked)), {})
    assert summary.metrics["parse_failures"] == pytest.approx(100 * 48 / 900)
    assert 35.22 <= summary.metrics["expected"] <= 36.78
    assert summary.metrics["accuracy"] < summary.metrics["expected"]


@pytest.mark.parametrize(("split", "rows"), [("val", 8), ("test", 1)])
def test_leaderboard_rows_are_micro_averages(split, rows):
    board = golden("mmmu_aggregation")
    sizes = board[f"{split}_sizes"]
    for row in board["rows"][split][:rows]:
        answered = [
            Outcome(
                f"{name}{number}",
                "",
                {"discipline": name},
                Score(float(number < round(row["domains"][name] / 100 * size))),
            )
            for name, size in sizes.items()
            for number in range(size)
        ]
        summary = TASK.metrics(answered, {})
        assert summary.metrics["accuracy"] == pytest.approx(row["overall_published"], abs=0.11)
        assert list(summary.breakdown["discipline"]) == sorted(sizes)
