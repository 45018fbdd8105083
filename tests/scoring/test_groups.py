"""Groups that are not whole: rotations, pairs, grades."""

from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval.errors import UsageError
from tests.scoring.files import put, score


def sheet(path: Path, *rows: tuple[int, str, str, str]) -> Path:
    """An upload sheet: index, options, answer, prediction."""
    head = "index\tA\tB\tC\tD\tanswer\tprediction\n"
    path.write_text(head + "".join(f"{i}\t{o}\t{a}\t{p}\n" for i, o, a, p in rows))
    return path


WHOLE = [
    (1, "x\ty\t\t", "A", "A"),
    (1_000_001, "y\tx\t\t", "B", "A"),
    (2, "x\ty\t\t", "B", "B"),
    (1_000_002, "y\tx\t\t", "A", "A"),
]


def test_a_question_without_all_its_rotations_is_refused_or_not_right(tmp_path: Path) -> None:
    whole = score("mmbench", sheet(tmp_path / "whole.tsv", *WHOLE))
    assert whole.summary.metrics == {"circular": 50.0, "vanilla": 100.0}
    lost = sheet(tmp_path / "lost.tsv", WHOLE[0], *WHOLE[2:])
    with pytest.raises(UsageError, match=r"lost\.tsv: question 1 has 1 of its 2 rotations"):
        score("mmbench", lost)
    partial = score("mmbench", lost, allow_partial=True)
    assert partial.summary.metrics == {"circular": 50.0, "vanilla": 100.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, "x\t\ty\t", "A", "A"), "row 1: option B is empty but C is not"),
        ((1, "x\ty\t\t", "D", "D"), r"row 1: the answer 'D' is no letter of its options \(A, B\)"),
        ((1, "x\ty\t\t", "b", "b"), "row 1: the answer 'b' is no letter"),
        ((1, "x\ty\t\t", "B ", "B "), "row 1: the answer 'B ' is no letter"),
    ],
)
def test_a_right_answer_is_held_against_its_own_row(
    tmp_path: Path, row: tuple[int, str, str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        score("mmbench", sheet(tmp_path / "said.tsv", row), allow_partial=True)


def mme_results(folder: Path, *lines: str) -> Path:
    from tasks.mme.files import CATEGORIES

    folder.mkdir()
    pair = "1.jpg\tIs it red?\tYes\tyes\n1.jpg\tIs it blue?\tNo\tno\n"
    for category in CATEGORIES:
        extra = "".join(lines) if category == "color" else ""
        (folder / f"{category}.txt").write_text(pair + extra)
    return folder


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2.jpg\tIs it red?\tYes\tyes\n", "color/2.jpg has 1 question where a picture has two"),
        ("1.jpg\tIs it pink?\tNo\tno\n", "color/1.jpg has 3 questions where a picture has two"),
        ("2.jpg\tIs it?\tTrue\tyes\n2.jpg\tIs it not?\tFalse\tno\n", "line 3: the right answer"),
    ],
)
def test_mme_results_that_are_no_pairs_are_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        score("mme", mme_results(tmp_path / "mme", line))


def test_a_picture_with_one_question_is_no_pair(tmp_path: Path) -> None:
    folder = mme_results(tmp_path / "mme", "2.jpg\tIs it red?\tYes\tyes\n")
    color = score("mme", folder, allow_partial=True).summary.breakdown
    assert (color["accuracy"]["color"], color["accuracy+"]["color"]) == (100.0, 100.0)
    folder = mme_results(tmp_path / "wrong", "2.jpg\tIs it red?\tYes\tno\n")
    color = score("mme", folder, allow_partial=True).summary.breakdown
    assert color["accuracy+"]["color"] == 100.0 and color["accuracy"]["color"] < 100


def test_grades_of_some_questions_are_refused_unless_partial_is_allowed(tmp_path: Path) -> None:
    grades = put(tmp_path / "grades.json", {"v1_0": {"score": [1.0]}})
    asked = {
        key: {"imagename": key, "question": "?", "answer": "!", "capability": ["ocr"]}
        for key in ("v1_0", "v1_1")
    }
    references = put(tmp_path / "mm-vet.json", asked)
    with pytest.raises(UsageError, match=r"1 of 2 questions have no grade \(v1_1"):
        score("mmvet", grades, references)
    with pytest.raises(UsageError, match="has grades of 1 of the 218 questions of MM-Vet"):
        score("mmvet", grades)
    partial = score("mmvet", grades, references, allow_partial=True)
    assert (partial.n, partial.without_prediction) == (1, 1)
