"""Files as people have them: streamed JSON, odd line ends, stand-ins for the real file."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infimm_eval.data import open_source, reading, tsv
from infimm_eval.errors import UsageError
from infimm_eval.submissions.files import load_list
from infimm_eval.types import Source
from tasks.coco.files import CocoCaptions

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.sampled
@pytest.mark.parametrize("chunk", [1, 7])
@settings(max_examples=25, deadline=None)
@given(items=st.lists(JSON, max_size=6), indent=st.none() | st.just(1), ascii=st.booleans())
def test_streaming_gives_what_json_gives_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    chunk: int,
    items: list[Any],
    indent: int | None,
    ascii: bool,
) -> None:
    whole = {"info": {"items": [1]}, "others": items, "items": items, "after": 3}
    path = tmp_path_factory.mktemp("json") / "file.json"
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_CHUNK", chunk)
        try:
            streamed = list(reading.stream(path, "items"))
        except UsageError:
            assert any("\ud800" <= c <= "\udfff" for c in text)
            return
        assert streamed == json.loads(text)["items"]
        assert dict(reading.stream_object(path)) == json.loads(text)


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_a_bare_array_and_a_byte_order_mark_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    path = tmp_path / "val.json"
    path.write_bytes(b"\xef\xbb\xbf[12, 345,\r\n 6.5e2]")
    assert list(reading.stream(path)) == [12, 345, 650.0]
    assert reading.read_json(path) == [12, 345, 650.0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"items": [1, 2', "not valid JSON: expected more at character 15"),
        (b'{"items": [1 2]}', "expected , or ] at character 13"),
        (b'{"items": [nope]}', "expected a value at character 11"),
        (b'{"others": [1]}', "no 'items' array"),
        (b'{"items": {}}', r"expected \[ at character 10"),
        (b'{"items": ["\xff"]}', "not UTF-8"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        list(reading.stream(path, "items"))


def test_a_link_to_nothing_is_not_taken_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.json").symlink_to(tmp_path / "gone.json")
    with pytest.raises(UsageError, match="link to nothing"):
        reading.read_json(tmp_path / "file.json")


def test_a_dangling_annotation_file_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "captions_train2014.json").symlink_to(tmp_path / "gone.json")
    reader = CocoCaptions(file="captions_train2014.json", images="train2014")
    with pytest.raises(UsageError, match=r"captions_train2014\.json is a link to nothing"):
        list(open_source(Source(demo=tuple, files=(reader,)), tmp_path, title="COCO").rows())


def test_json_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    odd = "a\u2028b\u0085c\x0bd"
    lines = [json.dumps({"text": odd}, ensure_ascii=False), json.dumps({"text": "None"})]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\n\n")
    assert [row["text"] for row in reading.json_lines(path)] == [odd, "None"]


def test_predictions_in_json_lines_are_read_like_a_list(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"question_id": 1, "answer": "a\u2028b"}\n{"question_id": 2, "answer": "1"}\n')
    rows = load_list(path, ["question_id", "answer"])
    assert [row["answer"] for row in rows] == ["a\u2028b", "1"]
    with pytest.raises(UsageError, match=r"gone\.jsonl is not there"):
        load_list(tmp_path / "gone.jsonl", ["answer"])


def test_a_broken_json_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"{}\n{\n")
    with pytest.raises(UsageError, match="line 2 is not JSON"):
        list(reading.json_lines(path))


def test_a_sheet_with_a_mark_odd_line_ends_and_quoted_cells_is_text(tmp_path: Path) -> None:
    path = tmp_path / "sheet.tsv"
    path.write_bytes(
        b"\xef\xbb\xbfindex\tquestion\tanswer\r\n"
        b'0\t"two\nlines and a ""mark"""\tNone\r\n'
        b"\r\n" + "1\ta\u2028b\x0cc\tnan\r\n".encode() + b"2\tone\t1"
    )
    rows = list(tsv.rows(path, tmp_path))
    assert [row["question"] for row in rows] == ['two\nlines and a "mark"', "a\u2028b\x0cc", "one"]
    assert [row["answer"] for row in rows] == ["None", "nan", "1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"index\tquestion\n0\ta\tb\n", "row 1 has 3 cells, the head 2"),
        (b"index\tquestion\n0\n", "row 1 has 1 cells, the head 2"),
        (b"number\tquestion\n0\ta\n", "no column 'index'"),
        (b"index\tquestion\n0\t\xff\n", "row 1 is not tab-separated text"),
        (b"index\tquestion\n0\ta\rb\n", "row 1 is not tab-separated text"),
    ],
)
def test_a_broken_sheet_is_refused_with_the_row(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "sheet.tsv"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message):
        list(tsv.rows(path, tmp_path))


def test_pictures_of_a_sheet_may_be_files(tmp_path: Path) -> None:
    path = tmp_path / "sheet.tsv"
    path.write_text("index\timage_path\n0\ta.png\n1\t['b.png', 'c.png']\n")
    one, two = tsv.rows(path, tmp_path)
    assert [image.name for image in one["images"]] == ["images/a.png"]
    assert [image.name for image in two["images"]] == ["images/b.png", "images/c.png"]


@pytest.mark.parametrize("place", ["", "annotations", "coco", "coco/annotations"])
def test_files_are_found_where_downloads_leave_them(tmp_path: Path, place: str) -> None:
    path = tmp_path / place / "captions.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    assert reading.find(tmp_path, "other.json", "captions.json") == path
    with pytest.raises(FileNotFoundError, match=r"x\.json or y\.json"):
        reading.require(tmp_path, "x.json", "y.json")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("w") as file:
        file.write('{"skipped": [')
        file.write(", ".join(f'"{"x" * 999}"' for _ in range(16_000)))
        file.write('], "items": [1]}')
    tracemalloc.start()
    try:
        assert list(reading.stream(path, "items")) == [1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 16e6
    assert peak < 6e6


def test_a_raised_recursion_limit_does_not_let_a_deep_file_end_the_process(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep.json"
    path.write_bytes(b"[" * 200_000)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        for read in (reading.read_json, lambda path: list(reading.stream(path))):
            with pytest.raises(UsageError, match="deep"):
                read(path)
        assert sys.getrecursionlimit() == 1_000_000
    finally:
        sys.setrecursionlimit(limit)


def test_a_number_beyond_every_float_is_refused_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_text("[" + "9" * 400 + "]")
    for read in (reading.read_json, lambda path: list(reading.stream(path))):
        with pytest.raises(UsageError, match="digits") as refused:
            read(path)
        assert str(path) in str(refused.value) and len(str(refused.value)) < 200 + len(str(path))
    path.write_text("[" + "9" * 300 + "]")
    assert reading.read_json(path) == list(reading.stream(path)) == [int("9" * 300)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("0", 0), ("007", 7), ("9" * 18, 10**18 - 1), ("9" * 5000, None), ("²", None)],
        *[("٣", None), ("", None), ("-1", None), (" 1", None), ("1_0", None), ("1.0", None)],
    ],
)
def test_a_whole_number_is_a_few_ascii_digits_and_nothing_else(
    text: str, number: int | None
) -> None:
    assert reading.whole_number(text) == number
