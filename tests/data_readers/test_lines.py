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


def test_a_row_without_a_picture_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"id": "1"})
    with pytest.raises(UsageError, match=r"signs.jsonl record 0 has no 'image'"):
        list(data.open_source(SOURCE, tmp_path, title="Signs").rows())


def test_a_benchmark_without_demo_rows_says_what_it_reads() -> None:
    with pytest.raises(UsageError, match=r"Signs has no demo rows; --data DIR should hold signs"):
        data.open_source(SOURCE, "demo", title="Signs")
