"""ScienceQA, MMBench, MMMU, MME, MM-Vet and Core-MM: the rows of their files."""

from __future__ import annotations

import base64
import csv
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infimm_eval.data import open_source, require_pictures
from infimm_eval.errors import UsageError
from infimm_eval.types import Reader, Row, Source
from tasks.core_mm.files import CoreMm
from tasks.mmbench.files import MmBench
from tasks.mme.files import CATEGORIES, Mme, MmeTsv
from tasks.mmmu.files import Mmmu, MmmuTsv
from tasks.mmmu.subjects import SUBJECTS
from tasks.mmvet.files import MmVet, MmVetTsv
from tasks.scienceqa.files import ScienceQa, ScienceQaTsv

PICTURE = base64.b64encode(b"pixels of a picture that is longer than a reference").decode()
BENCH = MmBench(names=("MMBench_DEV_EN.tsv",), split="dev")


def read(reader: Reader, root: Path) -> list[Row]:
    return list(open_source(Source(demo=tuple, files=(reader,)), root, title="the split").rows())


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_tsv(path: Path, rows: list[dict[str, str]], encoding: str = "utf-8") -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(file, names, delimiter="\t", restval="")
        table.writeheader()
        table.writerows(rows)


def problem(image: str | None, answer: int = 1) -> dict[str, Any]:
    return {
        "question": "Which is it?",
        "choices": ["None", "nan", "1"],
        "answer": answer,
        "hint": "",
        "image": image,
        "grade": "grade2",
        "subject": "natural science",
        "split": "test",
    }


def test_scienceqa_follows_the_order_of_the_split(tmp_path: Path) -> None:
    problems = {"1": problem("image.png"), "2": problem(None), "3": problem(None)}
    write_json(tmp_path / "problems.json", problems)
    write_json(tmp_path / "pid_splits.json", {"train": ["3"], "test": ["2", "1"]})
    (tmp_path / "images" / "test" / "1").mkdir(parents=True)
    (tmp_path / "images" / "test" / "1" / "image.png").write_bytes(b"pixels")
    text, pictured = read(ScienceQa(split="test"), tmp_path)
    assert (text["id"], text["image"]) == ("2", None)
    assert (pictured["id"], pictured["image"].read()) == ("1", b"pixels")
    assert (pictured["choices"], pictured["answer"]) == (["None", "nan", "1"], 1)
    assert (pictured["grade"], pictured["hint"], pictured["topic"]) == ("grade2", "", "")


def test_an_answer_beyond_the_choices_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "problems.json", {"1": problem(None, answer=3)})
    write_json(tmp_path / "pid_splits.json", {"test": ["1"]})
    with pytest.raises(UsageError, match="problem 1 has no choice number 3"):
        read(ScienceQa(split="test"), tmp_path)


def test_the_scienceqa_tsv_gives_the_same_columns(tmp_path: Path) -> None:
    row = {"index": "5", "question": "Which?", "A": "yes", "B": "no", "answer": "B"}
    write_tsv(tmp_path / "ScienceQA_TEST.tsv", [row | {"image": PICTURE}])
    (got,) = read(ScienceQaTsv(file="ScienceQA_TEST.tsv", split="test"), tmp_path)
    assert (got["id"], got["choices"], got["answer"]) == ("5", ["yes", "no"], 1)


def bench_row(index: object, **cells: str) -> dict[str, str]:
    row = {"index": str(index), "question": "Which?", "hint": "", "A": "None", "B": "nan"}
    return row | {"C": "", "answer": "A", "category": "c", "l2-category": "l"} | cells


def turns(index: int, **cells: str) -> list[dict[str, str]]:
    """A question of two options in both of its rotations."""
    return [bench_row(index + turn * 1_000_000, **cells) for turn in (0, 1)]


def test_rotations_share_the_picture_of_their_question(tmp_path: Path) -> None:
    rows = [bench_row(7, image=PICTURE), bench_row(1_000_007, image="7")]
    write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)
    base, rotated = read(BENCH, tmp_path)
    assert (base["index"], rotated["index"]) == (7, 1_000_007)
    assert base["image"] == rotated["image"]
    assert base["image"].read() == base64.b64decode(PICTURE)
    assert (base["A"], base["B"]) == ("None", "nan")
    assert "C" not in base
    assert "hint" not in base
    assert base["split"] == "dev"
    assert pickle.loads(pickle.dumps(base["image"])).digest() == base["image"].digest()


def test_only_rows_of_the_split_are_kept(tmp_path: Path) -> None:
    rows = [*turns(1, image=PICTURE, split="dev"), *turns(2, image=PICTURE, split="test")]
    write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)
    assert [row["index"] for row in read(BENCH, tmp_path)] == [1, 1_000_001]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([bench_row(7, image=PICTURE), bench_row(7, image=PICTURE)], "index 7 occurs twice"),
        ([bench_row(7)], "row 7 has no picture"),
        ([bench_row(7, image="8")], "row 7 refers to the picture of row 8, which has none"),
        ([bench_row(1_000_007, image=PICTURE)], "rotation of 7, which is missing"),
        ([bench_row(7, image=PICTURE)], "question 7 has 1 of its 2 rotations; circular needs all"),
        (turns(7, image=PICTURE, B="", C="two"), "option B is empty but C is not"),
        ([bench_row("", image=PICTURE)], "row 1 has no index"),
        ([bench_row("inf", image=PICTURE)], "index 'inf' is not a whole number"),
        ([bench_row("7" * 5000, image=PICTURE)], r"index '7+\.\.\.7+' is not a whole number"),
        ([bench_row("7.5", image=PICTURE)], "index '7.5' is not a whole number"),
        ([bench_row(7, image=PICTURE, split="test")], "no row of the split 'dev'"),
    ],
)
def test_a_broken_sheet_is_refused(
    tmp_path: Path, rows: list[dict[str, str]], message: str
) -> None:
    write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)
    with pytest.raises(UsageError, match=message):
        read(BENCH, tmp_path)


def test_an_index_that_a_spreadsheet_made_a_float_is_whole(tmp_path: Path) -> None:
    rows = [bench_row("7.0", image=PICTURE), bench_row("1000007.0", image=PICTURE)]
    write_tsv(tmp_path / "MMBench_DEV_EN.tsv", rows)
    assert [row["index"] for row in read(BENCH, tmp_path)] == [7, 1_000_007]


def test_a_cell_that_is_no_picture_is_an_os_error_that_names_the_row(tmp_path: Path) -> None:
    write_tsv(tmp_path / "MMBench_DEV_EN.tsv", turns(7, image="*" * 80))
    row, _ = read(BENCH, tmp_path)
    with pytest.raises(OSError, match=r"MMBench_DEV_EN\.tsv#7"):
        row["image"].read()


def test_mmmu_is_read_from_a_folder_a_subject(tmp_path: Path) -> None:
    for subject in SUBJECTS:
        path = tmp_path / "MMMU" / subject / "validation-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        columns = {
            "id": [f"validation_{subject}_1"],
            "question": ["<image 1> is"],
            "options": ["['a', 'b']"],
            "answer": ["A"],
            "question_type": ["multiple-choice"],
            "subfield": ["x"],
            "image_1": [{"bytes": b"pixels", "path": "1.png"}],
        }
        pq.write_table(pa.table(columns), path)
    rows = read(Mmmu(split="validation"), tmp_path)
    assert [row["subject"] for row in rows] == sorted(SUBJECTS)
    assert rows[0]["image_1"].read() == b"pixels"
    assert rows[0]["image_2"] is None
    (tmp_path / "MMMU" / "Music" / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(UsageError, match="lacks the subjects Music"):
        read(Mmmu(split="validation"), tmp_path)


def test_the_mmmu_tsv_numbers_its_pictures(tmp_path: Path) -> None:
    several = str([PICTURE, base64.b64encode(b"second").decode()])
    row = {"index": "1", "id": "validation_Music_1", "question": "<image 2>?", "A": "x", "B": "y"}
    other = {"index": "2", "id": "dev_Music_1", "question": "?", "split": "dev"}
    write_tsv(
        tmp_path / "MMMU_DEV_VAL.tsv",
        [row | {"image": several, "answer": "B", "split": "validation"}, other],
    )
    (got,) = read(MmmuTsv(file="MMMU_DEV_VAL.tsv", split="validation"), tmp_path)
    assert got["image_2"].read() == b"second"
    assert got["image_7"] is None
    assert (got["options"], got["answer"], got["question_type"]) == (
        ["x", "y"],
        "B",
        "multiple-choice",
    )


@pytest.mark.parametrize("nested", [True, False])
def test_both_layouts_of_mme_give_pairs(tmp_path: Path, nested: bool) -> None:
    tree = tmp_path / "MME_Benchmark_release_version"
    for category in CATEGORIES:
        texts = tree / category / ("questions_answers_YN" if nested else "")
        pictures = tree / category / ("images" if nested else "")
        texts.mkdir(parents=True, exist_ok=True)
        pictures.mkdir(parents=True, exist_ok=True)
        (texts / "0001.txt").write_bytes(b"\xef\xbb\xbfIs it?\tYes\r\nIs it  not?\tNo\r\n")
        (pictures / "0001.png").write_bytes(b"pixels")
    rows = read(Mme(), tmp_path)
    assert len(rows) == 2 * len(CATEGORIES)
    assert [(r["question"], r["answer"]) for r in rows[:2]] == [
        ("Is it?", "Yes"),
        ("Is it  not?", "No"),
    ]
    assert rows[0]["question_id"] == rows[1]["question_id"] == "existence/0001.png"
    assert rows[-1]["category"] == "code_reasoning"
    require_pictures((row["image"] for row in rows), "MME")


def test_a_missing_sub_task_of_mme_is_named(tmp_path: Path) -> None:
    (tmp_path / "MME_Benchmark_release_version" / "existence").mkdir(parents=True)
    with pytest.raises(UsageError, match="lacks the sub-tasks count, position"):
        read(Mme(), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("Is it?\tYes\n", "1 questions"), ("Is it?\tmaybe\nIs it?\tNo\n", "line 1 is not")],
)
def test_a_broken_pair_is_refused(tmp_path: Path, text: str, message: str) -> None:
    for category in CATEGORIES:
        (tmp_path / category).mkdir()
        (tmp_path / category / "1.txt").write_text(text)
        (tmp_path / category / "1.jpg").write_bytes(b"pixels")
    with pytest.raises(UsageError, match=message):
        read(Mme(), tmp_path)


def test_the_mme_tsv_groups_by_the_name_of_the_picture(tmp_path: Path) -> None:
    row = {"category": "OCR", "image_path": "images/OCR/0001.jpg", "question": "Is it?"}
    write_tsv(
        tmp_path / "MME.tsv",
        [
            {"index": "0", "image": PICTURE, "answer": "Yes", **row},
            {"index": "1", "image": "0", "answer": "No", **row},
        ],
    )
    rows = read(MmeTsv(), tmp_path)
    assert [row["question_id"] for row in rows] == ["OCR/0001.jpg"] * 2
    assert rows[0]["image"] == rows[1]["image"]


def test_mm_vet_keeps_the_marks_of_its_answers(tmp_path: Path) -> None:
    entry = {
        "imagename": "v1_0.png",
        "question": "What is x?",
        "answer": "-1<AND>-5<OR>1",
        "capability": ["ocr", "math"],
    }
    write_json(tmp_path / "mm-vet" / "mm-vet.json", {"v1_0": entry})
    (row,) = read(MmVet(), tmp_path)
    assert (row["question_id"], row["answer"]) == ("v1_0", "-1<AND>-5<OR>1")
    assert row["image"].name == "mm-vet/images/v1_0.png"
    cells = {"index": "3", "question": "?", "answer": "x", "capability": "rec,ocr"}
    write_tsv(tmp_path / "MMVet.tsv", [cells | {"image": PICTURE}])
    (row,) = read(MmVetTsv(), tmp_path)
    assert (row["question_id"], row["capability"]) == ("v1_3", ["rec", "ocr"])


def test_core_mm_answers_are_there_for_those_who_have_them(tmp_path: Path) -> None:
    entry = {
        "Image path": ["a.png", "b.png"],
        "Question": "Which is odd?",
        "Category": "Deductive",
        "Complexity": "High",
    }
    write_json(tmp_path / "core-mm-wo-answer.json", {"1": entry, "2": entry})
    first, _ = read(CoreMm(), tmp_path)
    assert [image.name for image in first["images"]] == ["images/a.png", "images/b.png"]
    assert "answer" not in first
    write_json(tmp_path / "core-mm-answers.json", {"2": "the second"})
    first, second = read(CoreMm(), tmp_path)
    assert "answer" not in first
    assert second["answer"] == "the second"
    with pytest.raises(UsageError, match="missing from the data folder: 2"):
        open_source(Source(demo=tuple, files=(CoreMm(),)), tmp_path).total()
