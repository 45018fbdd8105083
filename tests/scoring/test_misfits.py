"""Predictions and references that do not fit together, and ids of another kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from tests.scoring.files import put, score, vqa_files


def test_a_missing_prediction_is_refused_or_left_out_on_request(tmp_path: Path) -> None:
    files = vqa_files(tmp_path, 1)
    with pytest.raises(UsageError, match=r"said.json: 1 of 2 questions have no prediction \(2"):
        score("vqav2", *files)
    result = score("vqav2", *files, allow_partial=True)
    assert (result.n, result.value, result.without_prediction) == (1, 100.0, 1)


def test_a_prediction_for_a_stranger_is_refused_or_left_out_on_request(tmp_path: Path) -> None:
    files = vqa_files(tmp_path, 1, 2, 9)
    with pytest.raises(UsageError, match=r"1 of 3 predictions .* \(9\); is it the same split"):
        score("vqav2", *files)
    assert score("vqav2", *files, allow_partial=True).without_reference == 1


def test_another_split_altogether_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is it the same split"):
        score("vqav2", *vqa_files(tmp_path, 8, 9), allow_partial=True)


def test_references_without_answers_are_refused(tmp_path: Path) -> None:
    predictions, references = vqa_files(tmp_path, 1)
    put(references, {"annotations": [{"question_id": 1, "answers": []}]})
    with pytest.raises(UsageError, match=r"annotations.json holds no right answers of VQAv2"):
        score("vqav2", predictions, references)


@pytest.mark.parametrize(
    ("place", "message"),
    [("nowhere.json", "there is no .*nowhere.json"), ("empty", "--data DIR should hold")],
)
def test_references_that_are_not_there_are_named(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    predictions, _ = vqa_files(tmp_path, 1)
    with pytest.raises(UsageError, match=message):
        score("vqav2", predictions, tmp_path / place)


def test_an_unknown_scorer_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown scorer of vqav2 'offical'; did you mean"):
        score("vqav2", *vqa_files(tmp_path, 1, 2), "offical")


def test_text_where_grades_are_wanted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no grades of v1_0; give the judge's file"):
        score("mmvet", put(tmp_path / "said.json", {"v1_0": "a cat"}))


@pytest.mark.parametrize("count", [1, 3])
def test_people_who_are_not_ten_give_no_figure(tmp_path: Path, count: int) -> None:
    row = {"question_id": 1, "image_id": 1, "answers": [{"answer": "yes"}] * count}
    references = put(tmp_path / "annotations.json", {"annotations": [row]})
    predictions = put(tmp_path / "said.json", [{"question_id": 1, "answer": "yes"}])
    with pytest.raises(UsageError, match=rf"question 1 has {count} answers where 10 annotators"):
        score("vqav2", predictions, references)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vqav2", [{"question_id": 1, "answer": "yes"}]),
        ("vizwiz", [{"image": "a.jpg", "answer": "yes"}]),
        ("coco", [{"image_id": 1, "caption": "a dog"}]),
        ("mmmu", {"validation_Art_1": "B"}),
        ("scienceqa", {"results": {"4": 1}}),
    ],
)
def test_references_that_are_wanting_are_named_as_such(
    tmp_path: Path, name: str, said: object
) -> None:
    with pytest.raises(UsageError, match=r"said\.json holds no right answers .* by --references"):
        score(name, put(tmp_path / "said.json", said))


def test_a_sheet_without_answers_wants_references_too(tmp_path: Path) -> None:
    (tmp_path / "said.tsv").write_text("index\tprediction\n1\tA\n")
    with pytest.raises(UsageError, match=r"said\.tsv holds no right answers .* by --references"):
        score("mmbench", tmp_path / "said.tsv")


def test_a_folder_of_results_is_told_what_it_lacks_and_not_what_a_data_folder_would(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mme"
    folder.mkdir()
    (folder / "color.txt").write_text("1.jpg\tIs it?\tYes\tyes\n1.jpg\tIs it not?\tNo\tno\n")
    with pytest.raises(UsageError, match=r"mme lacks existence\.txt") as lacking:
        score("mme", folder)
    assert "--data" not in str(lacking.value)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["0001", "0002"], "number"),
        (["1.0", "2.0"], "number"),
        ([1.0, 2.0], "number"),
        (["COCO_val2014_000000000001.jpg", "COCO_val2014_000000000002.jpg"], "the number in"),
        (["val2014/1.jpg", "val2014/2.jpg"], "file name"),
    ],
)
def test_ids_of_another_kind_are_matched_one_to_one(
    tmp_path: Path, ids: list[Any], kind: str
) -> None:
    _, references = vqa_files(tmp_path)
    said = [{"question_id": id, "answer": "yes"} for id in ids]
    told: list[str] = []
    result = score("vqav2", put(tmp_path / "said.json", said), references, note=told.append)
    assert (result.n, result.value) == (2, 100.0)
    assert kind in told[0] and "is question" in told[0]


def test_a_pictures_id_stands_for_its_question_where_it_has_only_one(tmp_path: Path) -> None:
    people = [{"answer": "yes"}] * 10
    rows = [{"question_id": 10 * n, "image_id": n, "answers": people} for n in (1, 2, 3)]
    references = put(tmp_path / "annotations.json", {"annotations": rows})
    said = put(tmp_path / "s.json", [{"question_id": n, "answer": "yes"} for n in (1, 2, 3)])
    assert score("vqav2", said, references).value == 100.0
    rows.append({"question_id": 11, "image_id": 1, "answers": people})
    put(references, {"annotations": rows})
    with pytest.raises(UsageError, match=r"do not have \(1, 2, 3\); .* They have 10, 20, 30"):
        score("vqav2", said, references)


def test_two_ids_that_read_alike_are_not_matched(tmp_path: Path) -> None:
    _, references = vqa_files(tmp_path)
    said = [{"question_id": id, "answer": "yes"} for id in ("01", "001", "2")]
    with pytest.raises(UsageError, match="predictions are for questions"):
        score("vqav2", put(tmp_path / "said.json", said), references)
