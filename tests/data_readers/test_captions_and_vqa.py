"""Official caption and VQA files: the rows they give, and what is refused."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.data import open_source, require_pictures
from infimm_eval.data.captions import Karpathy
from infimm_eval.data.vqa import VqaFiles
from infimm_eval.errors import UsageError
from infimm_eval.types import Reader, Row, Source
from tasks.coco.files import CocoCaptions
from tasks.textvqa.files import TextVqa
from tasks.vizwiz.files import VizWiz

VQA = VqaFiles(
    questions="questions.json",
    annotations="annotations.json",
    images="val2014/COCO_val2014_{:012d}.jpg",
)


def write(path: Path, value: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **options), encoding="utf-8")


def read(reader: Reader, root: Path) -> list[Row]:
    source = Source(demo=tuple, files=(reader,))
    return list(open_source(source, root, title="the split").rows())


def question(number: int) -> dict[str, Any]:
    return {"question_id": number, "image_id": number // 10, "question": f"what is {number}?"}


def annotation(number: int, answers: list[str] | None = None) -> dict[str, Any]:
    people = answers if answers is not None else [f"a{number}"] * 9 + ["None"]
    return {
        "question_id": number,
        "image_id": number // 10,
        "question_type": "what is",
        "answer_type": "other",
        "answers": [{"answer": a, "answer_id": i} for i, a in enumerate(people, 1)],
    }


def vqa_folder(root: Path, asked: list[int], answered: list[int], **options: Any) -> Path:
    write(root / "questions.json", {"questions": [question(n) for n in asked]}, **options)
    told = {"info": {"annotations": []}, "annotations": [annotation(n) for n in answered]}
    write(root / "annotations.json", told, **options)
    return root


def karpathy_entry(number: int, split: str) -> dict[str, Any]:
    raws = [f"Caption {i} of {number}." for i in range(5)]
    return {
        "filepath": "val2014",
        "filename": f"{number}.jpg",
        "split": split,
        "cocoid": number,
        "sentences": [{"raw": raw, "tokens": raw.split()} for raw in raws],
    }


def test_only_the_asked_split_is_read_with_captions_as_written(tmp_path: Path) -> None:
    entries = [karpathy_entry(1, "train"), karpathy_entry(2, "test"), karpathy_entry(3, "restval")]
    write(tmp_path / "dataset_coco.json", {"dataset": "coco", "images": entries})
    (row,) = read(Karpathy(file="dataset_coco.json", split="test"), tmp_path)
    assert row["image_id"] == 2
    assert row["filename"] == "2.jpg"
    assert row["captions"] == [f"Caption {i} of 2." for i in range(5)]
    assert row["image"].name == "val2014/2.jpg"


def test_a_flickr_picture_is_known_by_the_number_in_its_file_name(tmp_path: Path) -> None:
    entry = karpathy_entry(4294967297, "test")
    del entry["cocoid"], entry["filepath"]
    write(tmp_path / "dataset_flickr30k.json", {"images": [entry]})
    reader = Karpathy(file="dataset_flickr30k.json", split="test", images="flickr30k-images")
    (row,) = read(reader, tmp_path)
    assert row["image_id"] == "4294967297"
    assert row["image"].name == "flickr30k-images/4294967297.jpg"


def test_a_split_without_pictures_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "dataset_coco.json", {"images": [karpathy_entry(1, "train")]})
    with pytest.raises(UsageError, match="no picture in the split 'test'"):
        read(Karpathy(file="dataset_coco.json", split="test"), tmp_path)


def test_a_picture_listed_twice_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "dataset_coco.json", {"images": [karpathy_entry(7, "test")] * 2})
    with pytest.raises(UsageError, match="image id 7 occurs twice"):
        read(Karpathy(file="dataset_coco.json", split="test"), tmp_path)


def test_coco_captions_are_gathered_per_picture_in_the_order_of_pictures(tmp_path: Path) -> None:
    told = [(2, "two a"), (1, "one"), (2, "two b")]
    write(
        tmp_path / "annotations" / "captions_train2014.json",
        {
            "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
            "annotations": [
                {"image_id": i, "id": n, "caption": c} for n, (i, c) in enumerate(told)
            ],
        },
    )
    rows = read(CocoCaptions(file="captions_train2014.json", images="train2014"), tmp_path)
    assert [(row["image_id"], row["captions"]) for row in rows] == [
        (1, ["one"]),
        (2, ["two a", "two b"]),
    ]


@pytest.mark.parametrize("answered", [[10, 11, 20], [20, 11, 10], [11, 20, 10]])
def test_questions_meet_their_answers_whatever_the_order(
    tmp_path: Path, answered: list[int]
) -> None:
    rows = read(VQA, vqa_folder(tmp_path, [10, 11, 20], answered))
    assert [row["question_id"] for row in rows] == [10, 11, 20]
    assert [row["answers"] for row in rows] == [[f"a{n}"] * 9 + ["None"] for n in (10, 11, 20)]
    assert rows[2]["image"].name == "val2014/COCO_val2014_000000000002.jpg"


def test_pretty_printed_files_read_like_compact_ones(tmp_path: Path) -> None:
    compact = read(VQA, vqa_folder(tmp_path / "a", [10, 11], [10, 11], separators=(",", ":")))
    pretty = read(VQA, vqa_folder(tmp_path / "b", [10, 11], [10, 11], indent=1))
    assert [r["answers"] for r in compact] == [r["answers"] for r in pretty]


def test_withheld_answers_are_none(tmp_path: Path) -> None:
    vqa_folder(tmp_path, [10], [])
    reader = VqaFiles(questions="questions.json", annotations=None, images=VQA.images)
    (row,) = read(reader, tmp_path)
    assert row["answers"] is None


def test_ok_vqa_keeps_what_people_typed_beside_the_stems(tmp_path: Path) -> None:
    vqa_folder(tmp_path, [10], [10])
    told = annotation(10, ["race"] * 10)
    for person in told["answers"]:
        person["raw_answer"] = "racing"
    write(tmp_path / "annotations.json", {"annotations": [told]})
    (row,) = read(VQA, tmp_path)
    assert (row["answers"][0], row["raw_answers"][9]) == ("race", "racing")


@pytest.mark.parametrize(
    ("asked", "answered", "message"),
    [
        ([10, 11], [10], "no answers to question 11"),
        ([10], [10, 11], "lacks question 11"),
        ([10], [11, 10], "lacks question 11"),
        ([10, 10], [10], "question 10 occurs twice"),
        ([10], [11, 11, 10], "question 11 occurs twice"),
        ([10, 11], [10, 10, 11], r"question 10.* \(or it is answered there twice\)"),
    ],
)
def test_questions_and_answers_that_do_not_pair_are_refused(
    tmp_path: Path, asked: list[int], answered: list[int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read(VQA, vqa_folder(tmp_path, asked, answered))


@pytest.mark.parametrize("count", [0, 9, 11])
def test_ten_annotators_are_expected(tmp_path: Path, count: int) -> None:
    vqa_folder(tmp_path, [10], [10])
    write(tmp_path / "annotations.json", {"annotations": [annotation(10, ["yes"] * count)]})
    with pytest.raises(UsageError, match=f"question 10 has {count} answers"):
        read(VQA, tmp_path)


def test_text_vqa_keeps_hexadecimal_picture_ids_and_ocr_tokens(tmp_path: Path) -> None:
    entry = {
        "question_id": 34602,
        "image_id": "003a8ae2ef43b901",
        "question": "what is the brand?",
        "answers": [" nokia"] * 10,
        "ocr_tokens": ["NOKIA", "nan"],
    }
    write(tmp_path / "TextVQA_0.5.1_val.json", {"data": [entry]})
    (row,) = read(TextVqa(file="TextVQA_0.5.1_val.json"), tmp_path)
    assert row["image"].name == "train_images/003a8ae2ef43b901.jpg"
    with zipfile.ZipFile(tmp_path / "train_val_images.zip", "w") as archive:
        archive.writestr("train_images/003a8ae2ef43b901.jpg", b"pixels")
    assert read(TextVqa(file="TextVQA_0.5.1_val.json"), tmp_path)[0]["image"].read() == b"pixels"
    assert row["answers"] == [" nokia"] * 10
    assert row["ocr_tokens"] == ["NOKIA", "nan"]


def test_a_vizwiz_question_is_known_by_its_picture(tmp_path: Path) -> None:
    people = [{"answer": "unanswerable", "answer_confidence": "yes"}] * 10
    entry = {"image": "VizWiz_val_00000000.jpg", "question": "What?", "answers": people}
    write(tmp_path / "val.json", [entry])
    (row,) = read(VizWiz(file="val.json", images="val"), tmp_path)
    assert row["question_id"] == "VizWiz_val_00000000.jpg"
    assert row["answers"] == ["unanswerable"] * 10


def test_missing_files_are_listed_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        read(VQA, tmp_path)
    message = str(refusal.value)
    assert "lacks questions.json" in message
    for wanted in ("questions.json", "annotations.json", "val2014", "the split"):
        assert wanted in message


def test_missing_pictures_are_counted_and_a_few_are_named(tmp_path: Path) -> None:
    vqa_folder(tmp_path, list(range(10, 90)), list(range(10, 90)))
    with pytest.raises(
        UsageError, match=r"missing .*: 8 \(.*COCO_val2014_000000000001.jpg.*, \.\.\."
    ):
        require_pictures((row["image"] for row in read(VQA, tmp_path)), "VQAv2 val")


@pytest.mark.parametrize("packed", ["val2014/", "coco/val2014/", ""])
def test_a_packed_picture_folder_reads_like_an_unpacked_one(tmp_path: Path, packed: str) -> None:
    name = "COCO_val2014_000000000001.jpg"
    vqa_folder(tmp_path, [10], [10])
    with zipfile.ZipFile(tmp_path / "val2014.zip", "w") as archive:
        archive.writestr(packed + name, b"pixels")
    (row,) = read(VQA, tmp_path)
    require_pictures([row["image"]], "VQAv2")
    assert row["image"].read() == b"pixels"
    again = pickle.loads(pickle.dumps(row["image"]))
    assert again == row["image"]
    assert again.key == row["image"].key

    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / name).write_bytes(b"pixels")
    (row,) = read(VQA, tmp_path)
    assert row["image"].name == f"val2014/{name}"
    assert row["image"].digest() == again.digest()


@pytest.mark.parametrize("place", ["", "images", "vqa", "coco", "coco/images"])
def test_pictures_are_found_where_downloads_leave_them(tmp_path: Path, place: str) -> None:
    vqa_folder(tmp_path / "vqa", [10], [10])
    (tmp_path / place / "val2014").mkdir(parents=True)
    (tmp_path / place / "val2014" / "COCO_val2014_000000000001.jpg").write_bytes(b"pixels")
    (row,) = read(VQA, tmp_path)
    assert row["image"].read() == b"pixels"


def test_the_key_of_a_picture_changes_when_the_file_does(tmp_path: Path) -> None:
    vqa_folder(tmp_path, [10], [10])
    (row,) = read(VQA, tmp_path)
    path = tmp_path / row["image"].name
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    before = row["image"].key
    path.write_bytes(b"other pixels")
    assert row["image"].key != before
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(OSError, match="Git LFS pointer"):
        row["image"].read()


def test_an_unreadable_picture_is_an_os_error_that_names_it(tmp_path: Path) -> None:
    (row,) = read(VQA, vqa_folder(tmp_path, [10], [10]))
    with pytest.raises(OSError, match=r"COCO_val2014_000000000001\.jpg"):
        row["image"].read()


def test_files_of_every_kind_are_read(data_folder: Path) -> None:
    captions = read(Karpathy(file="dataset_coco.json", split="test"), data_folder)
    assert [len(row["captions"]) for row in captions] == [5] * 6
    for split, pictures in (("val2014", 6), ("train2014", 8)):
        reader = VqaFiles(
            questions=f"v2_OpenEnded_mscoco_{split}_questions.json",
            annotations=f"v2_mscoco_{split}_annotations.json",
            images=f"{split}/COCO_{split}_{{:012d}}.jpg",
        )
        rows = read(reader, data_folder)
        require_pictures((row["image"] for row in rows), "VQAv2")
        assert len({row["image"].digest() for row in rows}) <= pictures
        assert all(len(row["answers"]) == 10 for row in rows)
