"""``score``: anybody's predictions, the official figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import registry
from infimm_eval.errors import UsageError
from infimm_eval.run.score_file import How, Result, score_file
from infimm_eval.scorers import caption
from infimm_eval.types import Task

Shared = Callable[[str], Path]


def put(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def quick(name: str) -> Task:
    """Captions without METEOR, which takes ten seconds to start."""
    task = registry.load(name)
    if task.scorers[0].name != "CIDEr-D":
        return task
    return replace(task, scorers=(caption.cider,))


def score(
    name: str,
    predictions: Path,
    references: Path | None = None,
    scorer: str | None = None,
    **how: Any,
) -> Result:
    return score_file(quick(name), predictions, references, How(scorer=scorer, **how))


# -- real predictions whose official figures are known -------------------------------------------


@pytest.mark.slow
def test_zerocap_on_flickr30k(shared: Shared) -> None:
    folder = shared("conformance/flickr30k")
    references = folder / "flickr30k_karpathy_test.coco.json"
    result = score("flickr30k", folder / "flickr30k_zerocap_results.json", references)
    assert (result.n, round(result.value or 0, 3)) == (1000, 16.804)


@pytest.mark.parametrize("itself", [False, True])
def test_lavin_on_mme(shared: Shared, itself: bool) -> None:
    folder = shared("conformance/mme_lavin")
    result = score("mme", folder, folder if itself else None)
    assert {k: round(v, 3) for k, v in result.summary.metrics.items()} == {
        "perception": 963.611,
        "cognition": 249.643,
    }
    assert {k: round(v, 2) for k, v in result.summary.breakdown["score"].items()} == {
        "existence": 185,
        "count": 88.33,
        "position": 63.33,
        "color": 75,
        "posters": 79.59,
        "celebrity": 47.35,
        "scene": 136.75,
        "landmark": 93.5,
        "artwork": 87.25,
        "OCR": 107.5,
        "commonsense_reasoning": 87.14,
        "numerical_calculation": 65,
        "text_translation": 47.5,
        "code_reasoning": 50,
    }


@pytest.mark.parametrize(
    ("scorer", "accuracy"), [("evalai", 74.414), ("always", 73.890), ("official", 73.430)]
)
def test_qwen_on_textvqa(shared: Shared, scorer: str, accuracy: float) -> None:
    folder = shared("conformance/textvqa")
    (predictions,) = folder.glob("textvqa_submission*.json")
    references = folder / "textvqa_val_annotations_vqa_format.json"
    result = score("textvqa", predictions, references, scorer)
    assert (result.n, round(result.value or 0, 3)) == (5000, accuracy)


@pytest.mark.parametrize("references", [None, "qwen_vl", "answer_dict_val.json"])
def test_qwen_on_mmmu_with_the_official_dice(shared: Shared, references: str | None) -> None:
    folder = shared("conformance/mmmu")
    place = folder / references if references else None
    result = score("mmmu", folder / "qwen_vl", place, scorer="official-seed42")
    assert (result.n, result.unparsed, round(result.value or 0, 2)) == (900, 48, 36.11)
    fair = score("mmmu", folder / "qwen_vl", place)
    assert 35.22 < fair.summary.metrics["expected"] < 36.78
    assert fair.value is not None and fair.value < fair.summary.metrics["expected"]


def test_qwen_on_mmmu_as_one_dictionary_of_letters(shared: Shared) -> None:
    """Every letter counts as the one it is: the options are not in the dictionary."""
    folder = shared("conformance/mmmu")
    predictions, references = (
        folder / "qwen_vl_total_val_output.json",
        folder / "answer_dict_val.json",
    )
    result = score("mmmu", predictions, references)
    said, right = json.loads(predictions.read_text()), json.loads(references.read_text())
    letters = [k for k, row in right.items() if row["question_type"] == "multiple-choice"]
    alike = sum(said[key] == right[key]["ground_truth"] for key in letters)
    by_type = result.summary.breakdown["question_type"]
    assert by_type["multiple-choice"] == pytest.approx(100 * alike / len(letters))
    assert result.unparsed == 0


@pytest.mark.parametrize("file", ["output", "result"])
def test_llava_on_scienceqa(shared: Shared, file: str) -> None:
    folder = shared("conformance/scienceqa")
    outputs = folder / "sqa_test_image_7b_baseline_output.json"
    result = score("scienceqa", folder / f"sqa_test_image_7b_baseline_{file}.json", outputs)
    assert (result.n, round(result.value or 0, 3)) == (2017, 65.146)
    assert round((result.value or 0) * 2017 / 100) == 1314


def test_llava_on_mmvet_by_capability(shared: Shared, tmp_path: Path) -> None:
    grades = shared("conformance/mmvet") / "llava-v1.5-7b_gpt-4-grade-1runs.json"
    assert round(score("mmvet", grades).value or 0, 1) == 31.2
    graded = json.loads(grades.read_text())
    made_up = {
        key: {"imagename": key, "question": "?", "answer": "!", "capability": kinds}
        for number, key in enumerate(graded)
        for kinds in [["rec", "math"] if number % 2 else ["ocr"]]
    }
    result = score("mmvet", grades, put(tmp_path / "mm-vet.json", made_up))
    values = [row["score"][0] for row in graded.values()]
    assert result.summary.breakdown["capability"] == pytest.approx(
        {
            "rec": 100 * sum(values[1::2]) / 109,
            "ocr": 100 * sum(values[::2]) / 109,
            "math": 100 * sum(values[1::2]) / 109,
        }
    )
    assert result.summary.breakdown["integration"].keys() == {"rec+math", "ocr"}


# -- official layouts with predictions of our own ------------------------------------------------


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


def test_pictures_without_a_caption_still_count_for_document_frequency(tmp_path: Path) -> None:
    references = coco_file(tmp_path / "captions.json")
    rows = [{"image_id": i, "caption": CAPTIONS[i]} for i in (1, 2)]
    result = score("coco", put(tmp_path / "two.json", rows), references)
    assert (result.n, result.without_prediction) == (2, 1)
    assert result.value == pytest.approx(1000.0)


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


# -- what does not fit together ------------------------------------------------------------------


def vqa_files(folder: Path, *said: int) -> tuple[Path, Path]:
    rows = [
        {"question_id": n, "image_id": n, "answers": [{"answer": "yes", "answer_id": 1}] * 10}
        for n in (1, 2)
    ]
    return (
        put(folder / "said.json", [{"question_id": n, "answer": "yes"} for n in said]),
        put(folder / "annotations.json", {"annotations": rows}),
    )


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


# -- groups that are not whole -------------------------------------------------------------------


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


# -- ids of another kind -------------------------------------------------------------------------


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


# -- what is read of a file ----------------------------------------------------------------------


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
