"""Leaderboards' files: read as anybody writes them, written as servers want them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.submissions import answers, lists
from infimm_eval.types import Answer, Record, Sample, Submission
from tasks.core_mm import submission as core_mm
from tasks.mmbench import submission as mmbench
from tasks.mme import submission as mme
from tasks.mmmu import submission as mmmu
from tasks.mmvet import submission as mmvet
from tasks.scienceqa import submission as scienceqa

VQA = lists.vqa("results.json")
VIZWIZ = lists.vqa("results.json", numeric=False, key="image")
COCO = lists.captions("captions_val2014_infimm_results.json")
COCO_TEST = lists.captions("captions_test2014_infimm_results.json")
MMVET = answers.dictionary("mmvet.json")
MMMU = mmmu.dictionary("mmmu.json")
SCIENCE = scienceqa.results("results.json", pictures_only=False)
SHEET = mmbench.sheet("mmbench.xlsx")
MME = mme.folder()

ODD = ["None", "nan", "1", "", "a\u2028b", 'he said "no"', "naïve \N{FACE WITH TEARS OF JOY}"]
"""Answers that careless readers turn into something else."""


def record(key: str, text: str, **sample: Any) -> Record:
    return Record(Sample(id=key, **sample), Answer(key, text), text)


def put(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("form", [VQA, COCO, MMVET, MMMU])
def test_odd_answers_come_back_as_they_were_written(form: Submission, tmp_path: Path) -> None:
    said = {str(number): text for number, text in enumerate(ODD)}
    form.write([record(key, text) for key, text in said.items()], tmp_path / "new" / "file.json")
    assert form.read(tmp_path / "new" / "file.json") == said


@pytest.mark.parametrize("suffix", ["xlsx", "tsv"])
def test_a_sheet_keeps_text_cells_as_text(suffix: str, tmp_path: Path) -> None:
    said = {str(n): text for n, text in enumerate(["None", "nan", "NA", "1", "", "TRUE", "01"], 1)}
    options = (("None",), ("1",), ("nan",))
    rows = [
        record(k, text, question=("1",), options=options, references=("A",), tags={"split": "dev"})
        for k, text in said.items()
    ]
    path = tmp_path / f"sheet.{suffix}"
    SHEET.write(rows, path)
    assert SHEET.read(path) == said
    assert SHEET.references is not None
    found = next(iter(SHEET.references(path)))
    assert (found.question, found.options, found.references) == (("1",), options, ("A",))


def test_an_upload_sheet_has_the_columns_of_the_server(tmp_path: Path) -> None:
    SHEET.write([record("1000007", "B", options=(("x",), ("y",)))], tmp_path / "sheet.tsv")
    head, row = (tmp_path / "sheet.tsv").read_text().splitlines()
    assert head.split("\t") == [
        "index",
        "question",
        "A",
        "B",
        "C",
        "D",
        "prediction",
        "answer",
        "split",
    ]
    assert row.split("\t")[:7] == ["1000007", "", "x", "y", "", "", "B"]


def test_evalai_lists_hold_numbers_and_normalised_text(tmp_path: Path) -> None:
    form = lists.vqa("results.json", spoken=str.lower)
    form.write([record("262148000", "Yes")], tmp_path / "results.json")
    assert (
        tmp_path / "results.json"
    ).read_text() == '[{"question_id": 262148000, "answer": "yes"}]'


def test_vizwiz_knows_a_question_by_its_picture(tmp_path: Path) -> None:
    VIZWIZ.write([record("VizWiz_val_1.jpg", "soup")], tmp_path / "results.json")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == [{"image": "VizWiz_val_1.jpg", "answer": "soup"}]


def test_an_id_that_a_server_wants_as_a_number_is_refused_as_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"results.json wants numbers for ids, .* 'x7'"):
        VQA.write([record("x7", "yes")], tmp_path / "results.json")


def test_scienceqa_wants_option_numbers_and_minus_one_for_none(tmp_path: Path) -> None:
    options = (("red",), ("blue",))
    rows = [record("4", "B", options=options), record("5", "who knows", options=options)]
    SCIENCE.write(rows, tmp_path / "results.json")
    body = json.loads((tmp_path / "results.json").read_text())
    assert body["results"] == {"4": 1, "5": -1}
    assert SCIENCE.read(tmp_path / "results.json") == {"4": "B", "5": "who knows"}
    bare = put(tmp_path / "bare.json", {"results": body["results"]})
    assert SCIENCE.read(bare) == {"4": "B", "5": ""}


def test_llavas_lists_of_right_and_wrong_are_predictions_too(tmp_path: Path) -> None:
    row = {"question_id": 5, "pred": "A. red", "ground_truth": "A", "is_multimodal": True}
    path = put(tmp_path / "out.json", {"correct": [row], "incorrect": []})
    assert SCIENCE.read(path) == {"5": "A. red"}
    assert SCIENCE.references is not None
    (sample,) = SCIENCE.references(path)
    assert (sample.id, sample.references, sample.tags["modality"]) == ("5", ("A",), "IMG")


def test_mmmus_folders_bring_options_and_right_answers(tmp_path: Path) -> None:
    rows = [
        {
            "id": "validation_Art_1",
            "question_type": "multiple-choice",
            "answer": "B",
            "all_choices": ["A", "B"],
            "index2ans": {"A": "oil", "B": "ink"},
            "response": "B",
        },
        {
            "id": "validation_Art_2",
            "question_type": "open",
            "answer": ["2", "two"],
            "all_choices": [],
            "index2ans": {},
            "response": "two",
        },
    ]
    (tmp_path / "Art").mkdir()
    put(tmp_path / "Art" / "output.json", rows)
    assert MMMU.read(tmp_path) == {"validation_Art_1": "B", "validation_Art_2": "two"}
    assert MMMU.references is not None
    choice, open_ = MMMU.references(tmp_path)
    assert (choice.options, choice.references) == ((("oil",), ("ink",)), ("B",))
    assert (open_.options, open_.references) == ((), ("2", "two"))
    assert choice.tags["discipline"] == "Art & Design"


def mme_record(file: str, question: str, truth: str, said: str) -> Record:
    tags = {"category": "color", "file": file}
    key = mme.sample_id("color", file, question)
    return record(key, said, question=(question,), references=(truth,), tags=tags)


def test_mmes_two_lines_of_a_picture_stand_together(tmp_path: Path) -> None:
    rows = [
        mme_record("1.jpg", "Is it red?", "Yes", "Yes,\nit\tis."),
        mme_record("2.jpg", "Is it red?", "Yes", "no"),
        mme_record("1.jpg", "Is it blue?", "No", "no"),
        mme_record("2.jpg", "Is it blue?", "No", "no"),
    ]
    MME.write(rows, tmp_path / "mme")
    assert (tmp_path / "mme" / "color.txt").read_text().splitlines() == [
        "1.jpg\tIs it red?\tYes\tYes, it is.",
        "1.jpg\tIs it blue?\tNo\tno",
        "2.jpg\tIs it red?\tYes\tno",
        "2.jpg\tIs it blue?\tNo\tno",
    ]
    assert MME.read(tmp_path / "mme")["color/1.jpg: Is it red?"] == "Yes, it is."


def test_coco_takes_one_archive_with_both_splits(tmp_path: Path) -> None:
    archive = tmp_path / "out" / "results.zip"
    COCO.write([record("1", "a dog")], archive)
    COCO_TEST.write([record("2", "a cat")], archive)
    with zipfile.ZipFile(archive) as packed:
        assert packed.namelist() == [
            "captions_val2014_infimm_results.json",
            "captions_test2014_infimm_results.json",
        ]
    assert COCO.read(archive) == {"1": "a dog"} and COCO_TEST.read(archive) == {"2": "a cat"}
    with pytest.raises(UsageError, match="already holds captions_val2014"):
        COCO.write([record("1", "a dog")], archive)


def test_an_archive_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("readme.txt", "hello")
    with pytest.raises(UsageError, match=r"x.zip should hold one captions_val2014_\.\.\._results"):
        COCO.read(tmp_path / "x.zip")
    with pytest.raises(UsageError, match=r"y\.zip is not a readable zip archive"):
        COCO.read(put(tmp_path / "y.zip", "no archive"))


def test_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    mark = "\ufeff"
    assert MMVET.read(put(tmp_path / "a.json", mark + '{"v1_0": "x"}')) == {"v1_0": "x"}
    assert SHEET.read(put(tmp_path / "a.tsv", mark + "index\tprediction\n1\tA\n")) == {"1": "A"}
    line = mark + "1.jpg\tIs it red?\tYes\tyes\n"
    (tmp_path / "mme").mkdir()
    put(tmp_path / "mme" / "color.txt", line)
    assert list(MME.read(tmp_path / "mme").values()) == ["yes"]


def test_json_lines_may_hold_line_separators_inside_text(tmp_path: Path) -> None:
    lines = '{"question_id": 1, "answer": "a\u2028b"}\r\n{"question_id": 2, "answer": "c"}\r\n'
    assert VQA.read(put(tmp_path / "said.jsonl", lines)) == {"1": "a\u2028b", "2": "c"}


def test_an_index_that_a_spreadsheet_made_a_float_is_whole(tmp_path: Path) -> None:
    assert SHEET.read(put(tmp_path / "a.tsv", "index\tprediction\n1000007.0\tA\n")) == {
        "1000007": "A"
    }


TWICE = [{"question_id": 1, "answer": "a"}, {"question_id": 1, "answer": "b"}]


@pytest.mark.parametrize(
    ("form", "name", "content", "message"),
    [
        (VQA, "a.json", TWICE, "a.json has two answers for 1"),
        (VQA, "a.json", {"1": "yes"}, "a.json holds an object; it should be a list of objects"),
        (VQA, "a.json", [{"question_id": 1}], "a.json: entry 0 is .* with question_id and answer"),
        (VQA, "a.json", [{"question_id": 1, "answer": [2]}], r"a.json: the answer for 1 is \[2\]"),
        (VQA, "a.json", "[{", "a.json is not JSON"),
        (VQA, "a.jsonl", '{"question_id": 1,\n', "a.jsonl line 1 is not JSON"),
        (COCO, "a.json", [{"image_id": 1, "caption": None}], "for picture 1 is None"),
        (COCO, "a.json", [{"image_id": 1, "caption": "x"}] * 2, "two answers for 1"),
        (MMVET, "a.json", ["x"], "a.json holds a list; it should map ids to answers"),
        (MMVET, "a.json", '{"v1_0": "x", "v1_0": "y"}', "a.json has 'v1_0' twice"),
        (MMVET, "a.json", {"v1_0": ["x"]}, "the answer for v1_0 is .'x'."),
        (MMMU, "a.json", {"validation_Art_1": True}, "the answer for validation_Art_1 is True"),
        (SCIENCE, "a.json", {"acc": 1}, "a.json has neither results"),
        (SCIENCE, "a.json", {"results": {"4": "B"}}, "the result for 4 is 'B'; it should be an in"),
        (SCIENCE, "a.json", {"correct": [{}], "incorrect": []}, "record 0 has no 'question_id'"),
        (SHEET, "a.tsv", "index\tanswer\n1\tA\n", "no column 'prediction'; it has index, answer"),
        (SHEET, "a.tsv", "index\tprediction\n1\tA\n1\tB\n", "two answers for 1"),
        (SHEET, "a.tsv", "index\tprediction\nx\tA\n", "index 'x' is not a whole number"),
        (SHEET, "a.xlsx", "no sheet", "a.xlsx is no sheet that can be read"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named_in_one_line(
    form: Submission, name: str, content: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        form.read(put(tmp_path / name, content))
    assert "\n" not in str(refused.value) and str(tmp_path / name) in str(refused.value)


def test_numbers_are_answers_and_a_list_may_lie_under_results(tmp_path: Path) -> None:
    rows = [{"question_id": 1, "answer": 2}, {"question_id": 2, "answer": 1.5}]
    path = put(tmp_path / "a.json", {"results": rows, "model": "x"})
    assert VQA.read(path) == {"1": "2", "2": "1.5"}
    assert MMMU.read(put(tmp_path / "b.json", {"validation_Art_1": 3})) == {"validation_Art_1": "3"}


def test_the_output_of_one_subject_of_mmmu_is_read(tmp_path: Path) -> None:
    row = {"id": "validation_Art_1", "question_type": "multiple-choice", "answer": "B",
           "all_choices": ["A", "B"], "index2ans": {"A": "x", "B": "y"},
           "response": "B"}  # fmt: skip
    path = put(tmp_path / "output.json", [row])
    assert MMMU.read(path) == {"validation_Art_1": "B"}
    assert MMMU.carries_answers(path)
    (sample,) = MMMU.references(path)
    assert (sample.references, sample.options) == (("B",), (("x",), ("y",)))


@pytest.mark.parametrize("form", [VQA, COCO, MMVET, MMMU, SCIENCE, SHEET, MME])
def test_a_file_that_is_not_there_is_named(form: Submission, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json"):
        form.read(tmp_path / "gone.json")


@pytest.mark.parametrize("line", ["1.jpg\tIs it red?\tyes", "1.jpg Is it red? Yes yes"])
def test_an_mme_line_with_cells_missing_is_named(line: str, tmp_path: Path) -> None:
    put(tmp_path / "color.txt", f"1.jpg\tIs it red?\tYes\tyes\n{line}\n")
    with pytest.raises(UsageError, match=r"color.txt, line 2: \d cells"):
        MME.read(tmp_path)


def test_an_mme_question_answered_twice_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "color.txt", "1.jpg\tIs it red?\tYes\tyes\n" * 2)
    with pytest.raises(UsageError, match=r"two answers for color/1\.jpg: Is it red"):
        MME.read(tmp_path)


def test_mme_results_without_some_sub_tasks_are_no_sum(tmp_path: Path) -> None:
    put(tmp_path / "color.txt", "1.jpg\tIs it red?\tYes\tyes\n")
    with pytest.raises(UsageError, match=r"lacks existence\.txt, count\.txt"):
        list(mme.references(tmp_path))


Read = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (lists.vqa_annotations, {"questions": []}, "has no annotations; give the annotations file"),
        (lists.vqa_annotations, {"annotations": ["x"]}, "entry 0 is x; an object is wanted"),
        (lists.vqa_annotations, [{"image": "a.jpg"}], "record 0 has no 'answers'"),
        (lists.coco_captions, {"annotations": [{"image_id": 1}]}, "record 0 has no 'caption'"),
        (mmvet.questions, {"v1_0": {"question": "?"}}, "record 0 has no 'answer'"),
        (core_mm.questions, {"1": {"Question": "?"}}, "record 0 has no 'Image path'"),
        (mmmu.answers, {"validation_Art_1": {}}, "has no 'ground_truth'"),
        (
            mmmu.answers,
            {"1": {"question_type": "short-answer", "ground_truth": "x"}},
            "'1' is not the id of an MMMU question",
        ),
        (scienceqa.problems, {"acc": 30.9}, "neither problems.json nor a list of outputs"),
        (answers.grades, {"v1_0": {"score": []}}, "no grades of v1_0"),
        (answers.grades, {"v1_0": {"score": [2.0]}}, "no grades of v1_0"),
        (
            answers.grades,
            {"v1_0": {"score": [1, 0]}, "v1_1": {"score": [1]}},
            "some answers have 1 grades, some 2",
        ),
    ],
)
def test_an_answer_file_that_is_not_what_it_should_be_is_refused(
    read: Read, content: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        list(read(put(tmp_path / "a.json", content)))


def test_a_sheet_keeps_what_looks_like_a_formula_and_drops_what_it_cannot_hold(
    tmp_path: Path,
) -> None:
    said = {"1": "=B", "2": "B\x0b"}
    asked = [Record(Sample(id=id), Answer(id, text), text) for id, text in said.items()]
    mmbench.write(asked, tmp_path / "sheet.xlsx")
    assert mmbench.read(tmp_path / "sheet.xlsx") == {"1": "=B", "2": "B"}


def test_a_ranking_is_sent_as_the_likeliest_options_letter(tmp_path: Path) -> None:
    sample = Sample(id="5", options=(("red",), ("blue",)), references=("B",))
    asked = Record(sample, Answer("5", "blue", logliks=(-2.0, -1.0)), "blue")
    submission = scienceqa.results("results.json", pictures_only=False)
    submission.write([asked], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["results"] == {"5": 1}
    assert submission.read(tmp_path / "results.json") == {"5": "B"}


def test_every_text_cell_of_a_sheet_is_one_that_excel_opens(tmp_path: Path) -> None:
    odd = "a\x01\x0b\ufffe\uffff\ud800b"
    sample = Sample(id="1", question=(odd,), options=((odd,), ("=1+1",)), references=("A",))
    asked = Record(sample, Answer("1", odd), odd)
    long = Record(Sample(id="2"), Answer("2", "x" * 40_000), "x" * 40_000)
    for name in ("sheet.xlsx", "sheet.tsv"):
        mmbench.write([asked, long], tmp_path / name)
        assert mmbench.read(tmp_path / name) == {"1": "ab", "2": "x" * 32_767}
        first = next(iter(mmbench.references(tmp_path / name)))
        assert (first.question, first.options) == (("ab",), (("ab",), ("=1+1",)))
    assert list(mmbench.remarks([asked, long])) == [
        "1 answers of more than 32,767 characters are cut there, as Excel's cells hold no more"
    ]


def test_a_sheet_with_a_cell_at_its_far_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    page = book.active
    page.append(["index", "prediction"])
    page.append([1, "A"])
    page["XFD99999"] = "x"
    book.save(tmp_path / "far.xlsx")
    with pytest.raises(UsageError, match=r"far\.xlsx row 99998 has 16384 cells, the head 2"):
        SHEET.read(tmp_path / "far.xlsx")


def test_a_member_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("captions_val2014_a_results.json", "[]")
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02") + 24
    data[at : at + 4] = b"\xff\xff\xff\xfe"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"x\.zip: captions_.* unpacks to more than any results"):
        COCO.read(path)


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        (VQA, [{"question_id": [1], "answer": "a"}], r"entry 0 has the question_id \[1\]"),
        (VQA, [{"question_id": None, "answer": "a"}], "entry 0 has the question_id None"),
        (VQA, [{"question_id": True, "answer": "a"}], "entry 0 has the question_id True"),
        (VQA, [{"question_id": 1, "answer": "\ud800"}], "holds half of a character"),
        (VQA, "[" * 20_000, "is nested too deep"),
        (VQA, "[" + "9" * 5_000 + "]", "is not JSON"),
        (MMVET, {"v1_0": ["x" * 10_000]}, r"the answer for v1_0 is \['x+\.\.\.x+'\]; it should"),
        (answers.dictionary("x.json"), {"\x1b[31m\n": []}, r"answer for \\x1b\[31m\\n is \[\]"),
    ],
)
def test_what_no_answer_can_be_is_refused_in_one_short_line(
    form: Submission, content: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        form.read(put(tmp_path / "a.json", content))
    assert str(refused.value).isprintable() and len(str(refused.value)) < 400


@pytest.mark.slow
def test_a_row_that_says_it_is_the_four_billionth_is_not_waited_for(tmp_path: Path) -> None:
    SHEET.write([record("1", "A")], tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "a.xlsx") as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    page = "xl/worksheets/sheet1.xml"
    parts[page] = parts[page].replace(b"</sheetData>", b'<row r="4000000000"/></sheetData>')
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    assert SHEET.read(tmp_path / "b.xlsx") == {"1": "A"}
