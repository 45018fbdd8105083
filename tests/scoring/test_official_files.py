"""Predictions of our own in every official layout."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.run.score_file import score_file
from tests.scoring.files import put, quick, score, vqa_files


def test_a_data_folder_serves_as_references(data_folder: Path, tmp_path: Path) -> None:
    body = json.loads((data_folder / "v2_mscoco_val2014_annotations.json").read_text())
    rows = body["annotations"]
    said = [
        {"question_id": row["question_id"], "answer": row["multiple_choice_answer"]} for row in rows
    ]
    predictions = put(tmp_path / "results.json", said)
    by_folder = score("vqav2", predictions, data_folder)
    by_file = score("vqav2", predictions, data_folder / "v2_mscoco_val2014_annotations.json")
    assert by_folder.value == by_file.value and (by_folder.value or 0) > 60
    assert by_folder.summary.breakdown == by_file.summary.breakdown
    assert by_folder.summary.breakdown["answer_type"].keys() >= {"yes/no", "other"}


@pytest.mark.slow
def test_karpathys_captions_are_found_in_a_folder_or_in_his_file(
    data_folder: Path, tmp_path: Path
) -> None:
    file = data_folder / "dataset_coco.json"
    images = json.loads(file.read_text())["images"]
    test = [image for image in images if image["split"] == "test"]
    said = [{"image_id": i["cocoid"], "caption": i["sentences"][0]["raw"]} for i in test]
    predictions = put(tmp_path / "results.json", said)
    results = [score("coco", predictions, place) for place in (data_folder, file)]
    assert [result.n for result in results] == [len(test)] * 2
    assert results[0].value == results[1].value and (results[0].value or 0) > 100


CAPTIONS = {1: "a red dog runs", 2: "two cats sleep on a sofa", 3: "a boat on a blue lake"}


def coco_file(path: Path) -> Path:
    people = [{"image_id": i, "id": i, "caption": text} for i, text in CAPTIONS.items()]
    return put(path, {"images": [{"id": i} for i in CAPTIONS], "annotations": people})


@pytest.mark.slow
def test_pictures_without_a_caption_still_count_for_document_frequency(tmp_path: Path) -> None:
    references = coco_file(tmp_path / "captions.json")
    rows = [{"image_id": i, "caption": CAPTIONS[i]} for i in (1, 2)]
    result = score("coco", put(tmp_path / "two.json", rows), references)
    assert (result.n, result.without_prediction) == (2, 1)
    assert result.value == pytest.approx(1000.0)


@pytest.mark.slow
def test_of_a_set_larger_than_the_split_the_captioned_pictures_are_the_split(
    tmp_path: Path,
) -> None:
    """All of val2014 as references for Karpathy's 5,000: rarity is that of the 5,000."""
    task = quick("coco")
    assert task.submission is not None and task.submission.size == 5000
    small = replace(task, submission=replace(task.submission, size=2))
    rows = [{"image_id": 1, "caption": "a red boat"}, {"image_id": 2, "caption": "two cats"}]
    predictions = put(tmp_path / "two.json", rows)
    references = coco_file(tmp_path / "captions.json")
    of_two = put(
        tmp_path / "two_captions.json",
        {"annotations": [{"image_id": i, "caption": CAPTIONS[i]} for i in (1, 2)]},
    )
    inside = score_file(small, predictions, references)
    assert inside.value == score_file(task, predictions, of_two).value
    assert inside.value != score_file(task, predictions, references).value


def okvqa_files(folder: Path, said: str) -> tuple[Path, Path]:
    people = [
        {"answer_id": n, "raw_answer": "racing", "answer": "race", "answer_confidence": "yes"}
        for n in range(1, 11)
    ]
    row = {"question_id": 7, "image_id": 3, "answers": people, "question_type": "two"}
    return (
        put(folder / "results.json", [{"question_id": 7, "answer": said}]),
        put(folder / "mscoco_val2014_annotations.json", {"annotations": [row]}),
    )


@pytest.mark.parametrize(
    ("scorer", "said", "accuracy"),
    [("raw", "racing", 100), ("raw", "race", 0), ("published", "race", 100)],
)
def test_okvqa_is_scored_against_words_or_against_stems(
    tmp_path: Path, scorer: str, said: str, accuracy: float
) -> None:
    predictions, references = okvqa_files(tmp_path, said)
    asked = {"question_id": 7, "image_id": 3, "question": "What sport?"}
    put(tmp_path / "OpenEnded_mscoco_val2014_questions.json", {"questions": [asked]})
    for place in (references, tmp_path):
        assert score("okvqa", predictions, place, scorer).value == accuracy


def test_textvqas_own_file_serves_as_references(tmp_path: Path) -> None:
    rows = [
        {"question_id": 34602, "image_id": "0a", "question": "?", "answers": ["nous"] * 9 + ["x"]},
        {"question_id": 34603, "image_id": "0a", "question": "!", "answers": ["1 "] * 10},
    ]
    references = put(tmp_path / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": rows})
    said = [{"question_id": 34602, "answer": "nous"}, {"question_id": 34603, "answer": "1"}]
    for place in (references, tmp_path):
        result = score("textvqa", put(tmp_path / "said.json", said), place)
        assert (result.value, result.n) == (100.0, 2)


def test_vizwizs_own_file_serves_as_references(tmp_path: Path) -> None:
    people = [{"answer": "soup", "answer_confidence": "yes"}] * 2 + [{"answer": "can"}] * 8
    row = {"image": "VizWiz_val_00000000.jpg", "question": "What?", "answers": people}
    references = put(tmp_path / "val.json", [row | {"answer_type": "other", "answerable": 1}])
    said = [{"image": "VizWiz_val_00000000.jpg", "answer": "soup"}]
    result = score("vizwiz", put(tmp_path / "said.json", said), references)
    assert result.value == pytest.approx(60.0)  # two of ten people, told apart by position
    assert result.summary.breakdown["answer_type"] == {"other": pytest.approx(60.0)}


def problem(picture: str | None, answer: int) -> dict[str, Any]:
    labels = {"subject": "natural science", "topic": "biology", "grade": "grade3"}
    return {
        "question": "Which?",
        "choices": ["None", "nan", "1"],
        "answer": answer,
        "hint": "",
        "image": picture,
        "split": "test",
        **labels,
    }


def test_scienceqa_is_scored_from_the_authors_folder_or_file(tmp_path: Path) -> None:
    problems = {"4": problem(None, 0), "5": problem("image.png", 1), "6": problem("image.png", 2)}
    put(tmp_path / "problems.json", problems)
    put(tmp_path / "pid_splits.json", {"test": ["4", "5", "6"], "train": []})
    said = put(tmp_path / "out" / "said.json", {"results": {"4": 0, "5": 1, "6": -1}})
    for place in (tmp_path, tmp_path / "problems.json"):
        pictured, full = score("scienceqa", said, place), score("scienceqa:full", said, place)
        assert (pictured.n, pictured.value, pictured.unparsed) == (2, 50.0, 1)
        assert (full.n, full.value) == (3, pytest.approx(200 / 3))
        assert full.summary.breakdown["subject"]["natural science"] == full.value


def test_scienceqa_without_a_prediction_is_wrong_and_stays_in_the_denominator(
    tmp_path: Path,
) -> None:
    problems = put(tmp_path / "problems.json", {k: problem("image.png", 1) for k in ("5", "6")})
    said = put(tmp_path / "said.json", {"results": {"5": 1}})
    result = score("scienceqa", said, problems)
    assert (result.value, result.n, result.without_prediction) == (50.0, 2, 1)


BENCH = "index\tquestion\tA\tB\tC\tD\tanswer\tcategory\tl2-category\tsplit\timage\n" + "".join(
    f"{index}\tWhich?\t{options}\t\t\t{answer}\tocr\tcoarse\tdev\t{'iVBORw0KGgo' * 8}\n"
    for index, options, answer in [
        (1, "None\tnan", "A"),
        (1_000_001, "nan\tNone", "B"),
        (2, "1\t2", "B"),
        (1_000_002, "2\t1", "A"),
    ]
)


@pytest.mark.parametrize("suffix", ["tsv", "xlsx", "csv"])
def test_mmbench_sheets_are_scored_against_the_benchmarks_tsv(tmp_path: Path, suffix: str) -> None:
    import pandas as pd

    references = tmp_path / "MMBench_DEV_EN.tsv"
    references.write_text(BENCH)
    said = {1: "A", 1_000_001: "None", 2: "A. 1", 1_000_002: "A"}
    frame = pd.DataFrame({"index": [*said], "prediction": [*said.values()]})
    predictions = tmp_path / f"said.{suffix}"
    if suffix == "xlsx":
        frame.to_excel(predictions, index=False)
    else:
        frame.to_csv(predictions, index=False, sep="\t" if suffix == "tsv" else ",")
    for place in (references, tmp_path):
        result = score("mmbench", predictions, place)
        assert result.summary.metrics == {"circular": 50.0, "vanilla": 50.0}
        assert result.summary.breakdown["l2-category"] == {"coarse": 50.0}


def test_mme_is_scored_against_the_benchmarks_tree(tmp_path: Path) -> None:
    from tasks.mme.files import CATEGORIES

    for category in CATEGORIES:
        tree = tmp_path / "MME_Benchmark_release_version" / category
        tree.mkdir(parents=True)
        (tree / "1.jpg").write_bytes(b"pixels")
        (tree / "1.txt").write_text("Is it  red? Please answer yes or no.\tYes\nIs it blue?\tNo\n")
        results = tmp_path / "results" / f"{category}.txt"
        results.parent.mkdir(exist_ok=True)
        results.write_text(
            "1.jpg\tIs it  red? Please answer yes or no.\tYes\tYes, it is.\r\n"
            "1.jpg\tIs it blue?\tNo\tyes\r\n"
        )
    for references in (tmp_path, None):
        result = score("mme", tmp_path / "results", references)
        assert result.summary.metrics == {"perception": 500.0, "cognition": 200.0}


def test_several_runs_of_a_judge_give_mean_and_deviation(tmp_path: Path) -> None:
    grades = {"v1_0": {"score": [0.0, 1.0]}, "v1_1": {"score": [0.5, 0.5]}}
    result = score("mmvet", put(tmp_path / "grades.json", grades), allow_partial=True)
    assert result.summary.metrics == {"total": 50.0, "std": 25.0}


def test_infimm_evals_hard_questions_weigh_twice(tmp_path: Path) -> None:
    grades = put(tmp_path / "grades.json", {"1": {"score": [1.0]}, "2": {"score": [0.25]}})
    questions = {
        key: {"Question": "?", "Image path": ["a.png"], "Category": "Deductive", "Complexity": how}
        for key, how in {"1": "Moderate", "2": "High"}.items()
    }
    result = score("core_mm", grades, put(tmp_path / "core-mm-wo-answer.json", questions))
    assert result.value == pytest.approx(50.0)
    with pytest.raises(UsageError, match="complexity of InfiMM-Eval's question 1 is not known"):
        score("core_mm", grades, allow_partial=True)


def test_the_field_that_scienceqa_is_read_from_is_said(tmp_path: Path) -> None:
    problems = put(tmp_path / "problems.json", {k: problem("image.png", 1) for k in ("5", "6")})
    results, outputs = {"5": 1, "6": 0}, {"5": "B", "6": "B"}
    for body, field, value in (
        ({"results": results}, "results", 50.0),
        ({"results": results, "outputs": outputs}, "outputs", 100.0),
        ({"results": results, "outputs": {"5": "B"}}, "results", 50.0),
        ({"results": results, "outputs": [], "correct": 1, "incorrect": 1}, "results", 50.0),
    ):
        result = score("scienceqa", put(tmp_path / "said.json", body), problems)
        assert (result.field, result.value, result.as_json()["field"]) == (field, value, field)


def test_answers_are_read_as_they_are_told_to_be(tmp_path: Path) -> None:
    predictions, references = vqa_files(tmp_path, 1, 2)
    put(predictions, [{"question_id": n, "answer": "hm: yes"} for n in (1, 2)])
    read = score("vqav2", predictions, references, read=lambda text: text.rpartition(": ")[2])
    assert (read.value, score("vqav2", predictions, references).value) == (100.0, 0.0)


def test_mmmus_test_split_has_a_figure_where_its_answers_are_known(tmp_path: Path) -> None:
    truth = {"test_Art_1": {"question_type": "multiple-choice", "ground_truth": "B"}}
    references = put(tmp_path / "answer_dict_test.json", truth)
    assert (
        score("mmmu:test", put(tmp_path / "s.json", {"test_Art_1": "B"}), references).value == 100
    )
