"""Hub datasets: local Parquet folders of the published schemas, and a hub that is not there."""

from __future__ import annotations

import pickle
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infimm_eval import registry
from infimm_eval.data import open_source, require_pictures
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub, Row, Source

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PEOPLE = [{"answer": "None", "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]


def picture(number: int) -> dict[str, Any]:
    return {"bytes": f"pixels {number}".encode(), "path": None}


def write(path: Path, columns: dict[str, Any], group: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: pa.array(cells, PICTURE) if "image" in name and "id" not in name else pa.array(cells)
        for name, cells in columns.items()
    }
    pq.write_table(pa.table(arrays), path, row_group_size=group)


def hub(name: str) -> Hub:
    """Where the hub has a benchmark, or a split of it."""
    found = registry.load(name).source.hub
    assert found is not None
    return found


def shots(name: str) -> Hub:
    """Where it has the examples."""
    source = registry.load(name).shots
    assert source is not None and source.hub is not None
    return source.hub


def read(hub: Hub, root: Path) -> list[Row]:
    return list(open_source(Source(demo=tuple, hub=hub), root, title="the split").rows())


def vqa_columns(first: int, count: int, answers: Any = PEOPLE) -> dict[str, Any]:
    numbers = range(first, first + count)
    return {
        "question_type": ["what is"] * count,
        "answers": [answers] * count,
        "image_id": [n // 2 for n in numbers],
        "answer_type": ["other"] * count,
        "question_id": list(numbers),
        "question": [f"what is {n}?" for n in numbers],
        "image": [picture(n) for n in numbers],
    }


@pytest.mark.parametrize("place", ["data", "VQAv2/data", "lmms-lab/VQAv2/data"])
def test_shards_are_read_in_order_from_any_of_the_usual_places(tmp_path: Path, place: str) -> None:
    write(tmp_path / place / "validation-00001-of-00002.parquet", vqa_columns(103, 2))
    write(tmp_path / place / "validation-00000-of-00002.parquet", vqa_columns(100, 3))
    write(tmp_path / place / "testdev-00000-of-00001.parquet", vqa_columns(7, 1, None))
    rows = read(hub("vqav2"), tmp_path)
    assert [row["question_id"] for row in rows] == [100, 101, 102, 103, 104]
    assert [row["image"].read() for row in rows] == [
        f"pixels {n}".encode() for n in range(100, 105)
    ]
    assert rows[0]["answers"] == ["None"] * 10
    assert rows[0]["image_id"] == 50


def test_a_picture_is_named_by_its_row_and_survives_pickling(tmp_path: Path) -> None:
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", vqa_columns(100, 3))
    image = read(hub("vqav2"), tmp_path)[2]["image"]
    assert image.name == "data/validation-00000-of-00001.parquet#2/image"
    again = pickle.loads(pickle.dumps(image))
    assert again == image
    assert again.key == image.key
    assert again.read() == b"pixels 102"


def test_a_test_split_has_no_answers(tmp_path: Path) -> None:
    write(tmp_path / "data" / "test-00000-of-00001.parquet", vqa_columns(100, 2, None))
    assert [row["answers"] for row in read(hub("vqav2:test2015"), tmp_path)] == [None, None]


def test_missing_shards_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "data" / "validation-00001-of-00002.parquet", vqa_columns(100, 2))
    with pytest.raises(UsageError, match="1 of the 2 shards of validation"):
        read(hub("vqav2"), tmp_path)


def test_another_dataset_in_the_place_of_the_wanted_one_is_refused(tmp_path: Path) -> None:
    columns = {"index": [1], "image": [picture(1)]}
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", columns)
    with pytest.raises(UsageError, match=r"row 0 .*is it lmms-lab/VQAv2\?"):
        read(hub("vqav2"), tmp_path)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data" / "validation-00000-of-00001.parquet"
    path.parent.mkdir()
    path.write_bytes(b"<html>")
    with pytest.raises(UsageError, match="not a Parquet file"):
        read(hub("vqav2"), tmp_path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(UsageError, match="Git LFS pointer"):
        read(hub("vqav2"), tmp_path)


def test_captions_of_one_dataset_meet_the_pictures_of_another(tmp_path: Path) -> None:
    write(
        tmp_path / "coco-karpathy" / "data" / "test-00000-of-00001.parquet",
        {
            "filename": ["b.jpg", "a.jpg"],
            "cocoid": [2, 1],
            "sentences": [["B."] * 5, ["A."] * 5],
        },
    )
    pictures = tmp_path / "COCO-Caption" / "data" / "val-00000-of-00001.parquet"
    names = ["a.jpg", "b.jpg", "c.jpg"]
    write(pictures, {"question_id": names, "image": [picture(n) for n in range(3)]})
    rows = read(hub("coco"), tmp_path)
    assert [(row["image_id"], row["image"].read()) for row in rows] == [
        (2, b"pixels 1"),
        (1, b"pixels 0"),
    ]
    pictures.unlink()
    with pytest.raises(UsageError, match=r"lacks the pictures, COCO-Caption/data/val-"):
        read(hub("coco"), tmp_path)


def test_an_ok_vqa_question_finds_its_picture_by_its_id(tmp_path: Path) -> None:
    columns = vqa_columns(100, 1, ["race"] * 10)
    columns["question_id"] = ["2971475"]
    del columns["image_id"]
    write(tmp_path / "data" / "val2014-00000-of-00001.parquet", columns)
    (row,) = read(hub("okvqa"), tmp_path)
    assert (row["question_id"], row["image_id"]) == ("2971475", 297147)
    assert row["answers"] == ["race"] * 10


def test_annotators_records_give_raw_answers_too(tmp_path: Path) -> None:
    columns = vqa_columns(100, 1, ["x"] * 10)
    columns["answers_original"] = [[{"answer": "race", "raw_answer": "racing"}] * 10]
    columns["id_image"] = columns.pop("image_id")
    write(tmp_path / "data" / "train-00000-of-00001.parquet", columns)
    (row,) = read(shots("vqav2"), tmp_path)
    assert (row["answers"][0], row["raw_answers"][9], row["image_id"]) == ("race", "racing", 50)


def test_a_scienceqa_row_is_known_by_its_number(tmp_path: Path) -> None:
    columns = {
        "image": [picture(0), None],
        "question": ["Which?"] * 2,
        "choices": [["a", "b"]] * 2,
        "answer": [1, 0],
        "hint": ["", None],
    }
    write(tmp_path / "ScienceQA-FULL" / "test-00000-of-00001.parquet", columns)
    first, second = read(hub("scienceqa:full"), tmp_path)
    assert [first["id"], second["id"]] == ["0", "1"]
    assert second["image"] is None
    assert second["hint"] == ""


def test_text_cells_that_look_like_nothing_are_kept_as_answers(tmp_path: Path) -> None:
    write(
        tmp_path / "MMBench" / "en" / "dev-00000-of-00001.parquet",
        {
            "index": ["1000007", "7"],
            "question": ["How many?"] * 2,
            "hint": ["nan", "Look."],
            "answer": ["A", "B"],
            "A": ["None", "nan"],
            "B": ["1", "NA"],
            "C": ["nan", "2"],
            "D": ["nan", "nan"],
            "category": ["counting"] * 2,
            "image": [picture(7)] * 2,
            "L2-category": ["perception"] * 2,
            "split": ["dev"] * 2,
        },
    )
    first, second = read(hub("mmbench"), tmp_path)
    assert first["index"] == 1_000_007
    assert (first["A"], first["B"], second["A"]) == ("None", "1", "nan")
    assert {"C", "D", "hint"}.isdisjoint(first)
    assert second["l2-category"] == "perception"


def test_an_mmmu_row_has_its_options_its_pictures_and_its_subject(tmp_path: Path) -> None:
    blank = {f"image_{k}": [None, None] for k in range(3, 8)}
    write(
        tmp_path / "data" / "validation-00000-of-00001.parquet",
        {
            "id": ["validation_Art_Theory_1", "validation_Math_2"],
            "question": ["<image 1> or <image 2>?", "How many?"],
            "options": ["['<image 1>', \"it's <image 2>\"]", "[]"],
            "image_1": [picture(1), picture(3)],
            "image_2": [picture(2), None],
            **blank,
            "answer": ["B", "['1', 'one']"],
            "question_type": ["multiple-choice", "open"],
            "subfield": ["Painting", "Sets"],
        },
    )
    choice, open_question = read(hub("mmmu"), tmp_path)
    assert choice["options"] == ["<image 1>", "it's <image 2>"]
    assert choice["image_2"].read() == b"pixels 2"
    assert choice["image_3"] is None
    assert choice["subject"] == "Art_Theory"
    assert open_question["image_2"] is None
    assert (open_question["options"], open_question["answer"]) == ([], ["1", "one"])


def test_capabilities_are_a_list(tmp_path: Path) -> None:
    write(
        tmp_path / "data" / "test-00000-of-00001.parquet",
        {
            "question_id": ["v1_0"],
            "image": [picture(0)],
            "question": ["What is x?"],
            "answer": ["-1<AND>-5"],
            "capability": ["ocr,math"],
        },
    )
    assert read(hub("mmvet"), tmp_path)[0]["capability"] == ["ocr", "math"]


def test_the_identity_names_config_split_and_shards(tmp_path: Path) -> None:
    shard = tmp_path / "data" / "validation-00000-of-00001.parquet"
    write(shard, vqa_columns(1, 1))
    source = Source(demo=tuple, hub=hub("vqav2"))
    assert open_source(source, tmp_path).identity == {
        "kind": "files",
        "config": None,
        "split": "validation",
        "files": [
            {
                "name": "data/validation-00000-of-00001.parquet",
                "size": shard.stat().st_size,
            }
        ],
    }


def test_the_first_dataset_that_exists_is_fetched_at_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    commit = "c" * 40
    asked: list[tuple[str, Any]] = []

    def dataset_info(api: Any, repo: str, *, revision: Any, timeout: float) -> Any:
        asked.append((repo, revision))
        if repo.startswith("lmms-lab-encoder/"):
            raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        return SimpleNamespace(sha=commit)

    def load_dataset_builder(repo: str, name: Any, revision: str) -> Any:
        url = f"hf://datasets/{repo}@{revision}/data/validation-00000-of-00001.parquet"
        return SimpleNamespace(config=SimpleNamespace(data_files={"validation": [url]}))

    def snapshot_download(repo: str, **wanted: Any) -> str:
        assert wanted["revision"] == commit
        for name in wanted["allow_patterns"]:
            write(tmp_path / name, vqa_columns(100, 2))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    source = Source(demo=tuple, hub=hub("vqav2"))
    found = open_source(source, "hub", revision="v1", title="VQAv2 val")
    assert asked == [("lmms-lab-encoder/VQAv2", "v1"), ("lmms-lab/VQAv2", "v1")]
    assert [row["question_id"] for row in found.rows()] == [100, 101]
    known = found.identity
    assert (known["kind"], known["repo"], known["commit"]) == ("hub", "lmms-lab/VQAv2", commit)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ValueError("no config 'en'"), r"cccccccc is not laid out as it was \(no config 'en'\)"),
        ({"train": []}, r"no split 'dev' among \['train'\].*amend the benchmark's Hub"),
    ],
)
def test_a_dataset_that_was_rearranged_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: Any, message: str
) -> None:
    import datasets

    def load_dataset_builder(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(config=SimpleNamespace(data_files=answer))

    monkeypatch.setattr(
        "infimm_eval.data.hub_download.resolve", lambda *_: ("lmms-lab/MMBench", "c" * 40)
    )
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    with pytest.raises(UsageError, match=message):
        open_source(Source(demo=tuple, hub=hub("mmbench")), "hub", title="MMBench dev")


def test_an_unreachable_hub_is_one_message_that_names_a_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match=r"cannot be reached .*--data DIR.*VQAv2/data/validation-"):
        open_source(Source(demo=tuple, hub=hub("vqav2")), "hub", title="VQAv2 val")


def test_a_benchmark_that_is_not_on_the_hub_says_so() -> None:
    with pytest.raises(UsageError, match="not on the hub"):
        open_source(Source(demo=tuple), "hub", title="Core-MM")


def test_no_connection_is_opened_unless_the_hub_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", vqa_columns(100, 2))
    source = Source(demo=lambda: [{"question_id": 1}], hub=hub("vqav2"))
    found = open_source(source, tmp_path)
    assert found.total() == 2
    assert found.identity["kind"] == "files"
    require_pictures((row["image"] for row in found.rows()), "VQAv2")
    assert open_source(source, "demo").total() == 1
    with pytest.raises(UsageError):
        open_source(source, tmp_path / "nowhere")


def test_a_limited_total_reads_no_further(tmp_path: Path) -> None:
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", vqa_columns(100, 5))
    found = open_source(Source(demo=tuple, hub=hub("vqav2")), tmp_path)
    assert (found.total(3), found.total(9)) == (3, 5)
