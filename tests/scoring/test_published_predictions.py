"""Real predictions of published systems come out at their published figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scoring.files import put, score

Shared = Callable[[str], Path]


@pytest.mark.slow
def test_zerocap_on_flickr30k(shared: Shared) -> None:
    folder = shared("conformance/flickr30k")
    references = folder / "flickr30k_karpathy_test.coco.json"
    result = score("flickr30k", folder / "flickr30k_zerocap_results.json", references)
    assert (result.n, round(result.value or 0, 3)) == (1000, 16.804)


@pytest.mark.sampled
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scorer", "accuracy"), [("evalai", 74.414), ("always", 73.890), ("official", 73.430)]
)
def test_qwen_on_textvqa(shared: Shared, scorer: str, accuracy: float) -> None:
    folder = shared("conformance/textvqa")
    (predictions,) = folder.glob("textvqa_submission*.json")
    references = folder / "textvqa_val_annotations_vqa_format.json"
    result = score("textvqa", predictions, references, scorer)
    assert (result.n, round(result.value or 0, 3)) == (5000, accuracy)


@pytest.mark.sampled
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


@pytest.mark.slow
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
