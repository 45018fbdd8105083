from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimm_eval import data
from infimm_eval.data.lines import JsonLines
from infimm_eval.errors import UsageError
from infimm_eval.types import Source

SOURCE = Source(files=(JsonLines(file="signs.jsonl", images="photos"),))


def write(folder: Path, *rows: dict[str, object]) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "1.jpg").write_bytes(b"a picture")
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "signs.jsonl").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")


def test_a_line_is_a_row_and_its_picture_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"id": "1", "image": "1.jpg", "question": "Is it\u2028red?"})
    (row,) = data.open_source(SOURCE, tmp_path, title="Signs").rows()
    assert row["question"] == "Is it\u2028red?"
    assert row["image"].read() == b"a picture"


def test_a_row_may_have_several_pictures_or_none(tmp_path: Path) -> None:
    write(tmp_path, {"image": ["1.jpg", "1.jpg"]}, {"images": ["1.jpg"]}, {"images": []})
    found = data.open_source(SOURCE, tmp_path, title="Signs")
    both, one, none = found.rows()
    assert [len(row["images"]) for row in (both, one, none)] == [2, 1, 0]
    assert both["image"] == both["images"][0] == one["image"] and "image" not in none
    assert found.total() == 3


def test_options_are_texts_and_the_answer_one_of_their_letters(tmp_path: Path) -> None:
    write(tmp_path, {"image": "1.jpg", "options": ["red", "blue"], "answer": "B"})
    (row,) = data.open_source(SOURCE, tmp_path, title="Signs").rows()
    assert (row["options"], row["answer"]) == (["red", "blue"], "B")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "1"}, r"has no 'image'; it has id"),
        ({"image": "2.jpg"}, r"there is no picture photos/2\.jpg"),
        ({"image": ["1.jpg", None]}, "None is no name of a picture"),
        ({"image": 1}, "1 is no name of a picture"),
        (["1.jpg"], r"is \"\['1\.jpg'\]\"; an object is wanted"),
        ({"image": "1.jpg", "options": "red"}, "options is red; a list of texts is wanted"),
        ({"image": "1.jpg", "options": [1]}, r"options is \[1\]; a list of texts is wanted"),
        (
            {"image": "1.jpg", "options": ["red", "blue"], "answer": "red"},
            r"the answer 'red' is no letter of its options \(A, B\)",
        ),
        (
            {"image": "1.jpg", "options": ["red", "blue"], "answer": "C"},
            r"the answer 'C' is no letter",
        ),
    ],
)
def test_a_bad_row_is_named_with_its_file_and_line(
    row: dict[str, object], message: str, tmp_path: Path
) -> None:
    write(tmp_path, {"image": "1.jpg"}, row)
    with pytest.raises(UsageError, match=rf"signs\.jsonl line 2:? {message}"):
        list(data.open_source(SOURCE, tmp_path, title="Signs").rows())


def test_a_column_that_a_task_asks_for_in_vain_is_named_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, {"image": "1.jpg", "question": "Is it?"})
    (row,) = data.open_source(SOURCE, tmp_path, title="Signs").rows()
    with pytest.raises(UsageError, match=r"signs\.jsonl line 1 has no 'answer'; it has question"):
        row["answer"]
    assert row.get("answer") is None


def test_a_benchmark_without_demo_rows_says_what_it_reads() -> None:
    with pytest.raises(UsageError, match=r"Signs has no demo rows; --data DIR should hold signs"):
        data.open_source(SOURCE, "demo", title="Signs")
