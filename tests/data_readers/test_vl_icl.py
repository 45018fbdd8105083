"""VL-ICL Bench's folders, and what is said of one that is not as it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import data, registry
from infimm_eval.errors import UsageError
from infimm_eval.types import Sample, Source

QUERY = {
    "id": 7,
    "image": ["open_mi/a.jpg"],
    "question": "This is a",
    "answer": "dax",
    "classes": ["dax", "blick"],
    "support": {"dax": {"images": ["open_mi/a.jpg"]}, "blick": {"images": ["open_mi/b.jpg"]}},
}
PAIR = {
    "same": {"image": ["matching_mi/a.jpg", "matching_mi/b.jpg"], "question": "", "answer": "yes"},
    "diff": {"image": ["matching_mi/a.jpg", "matching_mi/b.jpg"], "question": "", "answer": "no"},
}
SUM = {"image": "operator_induction/a.jpg", "question": "2 ? 3", "answer": [5, -1, 6]}


def read(root: Path, task: str, part: str, *records: Any) -> list[Sample]:
    """The samples of a file of these records, in a folder with two pictures."""
    (root / task).mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (root / task / name).write_bytes(b"a picture")
    (root / task / f"{part}.json").write_text(json.dumps(records), encoding="utf-8")
    loaded = registry.load(task)
    source = loaded.source if part == "query" else loaded.shots
    assert isinstance(source, Source)
    return [loaded.sample(row) for row in data.open_source(source, root, title=task).rows()]


def test_a_query_brings_its_own_examples(tmp_path: Path) -> None:
    (query,) = read(tmp_path, "open_mi", "query", QUERY)
    assert (query.id, query.target, query.question) == ("7", "dax", ("This is a",))
    assert query.images[0].read() == b"a picture"
    source = registry.load("open_mi").shots
    assert source is not None
    shown = [*data.open_source(source, tmp_path, title="open_mi").rows()]
    assert [row["id"] for row in shown] == ["7/dax/0", "7/blick/0"]
    assert {row["query"] for row in shown} == {"7"}


def test_a_pair_is_two_examples_of_two_pictures(tmp_path: Path) -> None:
    same, diff = read(tmp_path, "matching_mi", "support", PAIR)
    assert (same.id, same.target, diff.id, diff.target) == ("0/same", "yes", "0/diff", "no")
    assert len(same.images) == len(diff.images) == 2
    assert same.tags == {"pair": "0", "kind": "same"}


def test_an_example_of_an_operator_has_an_answer_by_each(tmp_path: Path) -> None:
    (example,) = read(tmp_path, "operator_induction", "support", SUM)
    assert (example.target, example.tags) == ("5", {"+": "5", "-": "-1", "x": "6"})


def test_a_number_is_an_answer_too(tmp_path: Path) -> None:
    record = {"id": "a", "image": "clevr/a.jpg", "question": "color: red", "answer": 3}
    (query,) = read(tmp_path, "clevr", "query", record)
    assert (query.id, query.target, query.references) == ("a", "3", ("3",))


def test_two_records_of_one_id_are_refused(tmp_path: Path) -> None:
    record = {"id": 3, "image": "clevr/a.jpg", "question": "color: red", "answer": "1"}
    with pytest.raises(UsageError, match=r"query\.json: id 3 occurs twice"):
        read(tmp_path, "clevr", "query", record, record | {"id": "3"})


def test_a_folder_without_the_file_says_which_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clevr/query\.json"):
        data.open_source(registry.load("clevr").source, tmp_path, title="clevr")


@pytest.mark.parametrize(
    ("task", "part", "record", "message"),
    [
        ("clevr", "query", 3, "is 3; an object is wanted"),
        ("clevr", "query", {"id": "1"}, "has no 'image'; it has id"),
        ("clevr", "query", {"image": "a.jpg"}, "a.jpg is no name of a picture, such as"),
        ("clevr", "query", {"image": [None]}, "None is no name of a picture"),
        ("clevr", "query", {"image": "clevr/../../a.jpg"}, "it leaves the picture folder"),
        ("clevr", "query", {"image": "clevr/a.jpg", "question": 2.5}, "question is 2.5; a text"),
        ("clevr", "query", {"id": [1], "image": "clevr/a.jpg"}, r"id is \[1\]; a text is wanted"),
        ("open_mi", "query", QUERY | {"answer": None}, "answer is None; a text is wanted"),
        ("matching_mi", "support", {"same": PAIR["same"]}, "has no 'diff'; it has id, same"),
        ("matching_mi", "support", PAIR | {"diff": []}, r"diff is \[\]; an object is wanted"),
        ("operator_induction", "support", SUM | {"answer": [5]}, "a list of 3, one for each"),
        ("operator_induction", "support", SUM | {"answer": 5}, "answer is 5; a list of 3"),
    ],
)
def test_a_record_that_is_not_so_is_named_in_a_line(
    task: str, part: str, record: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as told:
        read(tmp_path, task, part, record)
    assert f"{part}.json" in str(told.value) and "record 1" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": "dax"}, "classes is dax; a list of texts is wanted"),
        ({"classes": ["wug"]}, "support has no 'wug'; it has dax, blick"),
        ({"support": None}, "support is None; an object is wanted"),
        ({"support": QUERY["support"] | {"dax": {}}}, "support of dax has no 'images'"),  # type: ignore[operator]
        ({"support": QUERY["support"] | {"dax": {"images": "a"}}}, "images of dax is a; a list"),  # type: ignore[operator]
    ],
)
def test_what_a_query_brings_is_checked_as_well(
    wrong: dict[str, Any], message: str, tmp_path: Path
) -> None:
    read(tmp_path, "open_mi", "query", QUERY | wrong)
    source = registry.load("open_mi").shots
    assert source is not None
    with pytest.raises(UsageError, match=message):
        list(data.open_source(source, tmp_path, title="open_mi").rows())
