"""Names of pictures stay inside their folder, and only what may be a picture is opened."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from infimm_eval import registry
from infimm_eval.data import open_source, pictures
from infimm_eval.errors import UsageError
from infimm_eval.run.plan import Plan
from infimm_eval.run.task_data import TaskData
from infimm_eval.types import Image, Row

PIXELS = b"pixels that nobody decodes"


def vizwiz(root: Path, *names: str) -> Path:
    """VizWiz's val with these names for its pictures, of which ``a.jpg`` is there."""
    (root / "val").mkdir(parents=True, exist_ok=True)
    (root / "val" / "a.jpg").write_bytes(PIXELS)
    people = [{"answer": "soup"}] * 10
    rows = [{"image": name, "question": "What?", "answers": people} for name in names]
    (root / "val.json").write_text(json.dumps(rows))
    return root


def rows(root: Path) -> list[Row]:
    task = registry.load("vizwiz")
    return list(open_source(task.source, root, title=task.title).rows())


def total(root: Path) -> int:
    """What a run looks at before the first question."""
    task = registry.load("vizwiz")
    return TaskData(task, Plan(tasks=[task], data=str(root))).total


@pytest.mark.parametrize(
    "name",
    ["../secret.jpg", "x/../../secret.jpg", "/etc/hostname", "..\\secret.jpg", "C:\\secret.jpg"],
)
def test_a_name_that_leaves_the_folder_is_refused_with_its_record(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret.jpg").write_bytes(PIXELS)
    with pytest.raises(UsageError, match=r"val\.json record 1: .*it leaves the picture folder"):
        rows(vizwiz(tmp_path, "a.jpg", name))


@pytest.mark.parametrize("name", ["", "a\0.jpg", "a" * 5000, "\ud800.jpg", None, 7])
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, name: object) -> None:
    with pytest.raises(UsageError, match=r"val\.json record 0"):
        rows(vizwiz(tmp_path, name))  # type: ignore[arg-type]


def test_dots_inside_a_name_are_no_way_out(tmp_path: Path) -> None:
    vizwiz(tmp_path, "a..b.jpg")
    (tmp_path / "val" / "a..b.jpg").write_bytes(PIXELS)
    assert total(tmp_path) == 1


def test_a_link_that_leads_out_is_refused_before_the_first_question(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(PIXELS)
    root = vizwiz(tmp_path / "data", "out.jpg")
    (root / "val" / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (row,) = rows(root)
    with pytest.raises(OSError, match=r"out\.jpg is a link that leads out"):
        row["image"].read()
    with pytest.raises(UsageError, match=r"cannot be read: 1 \(val/out\.jpg is a link that leads"):
        total(root)


def test_a_folder_of_links_inside_and_a_linked_picture_folder_are_ones_own_affair(
    tmp_path: Path,
) -> None:
    root = vizwiz(tmp_path / "data", "b.jpg")
    (root / "val" / "b.jpg").symlink_to(root / "val" / "a.jpg")
    assert total(root) == 1
    (root / "val").rename(tmp_path / "elsewhere")
    (root / "val").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "b.jpg").unlink()
    (tmp_path / "elsewhere" / "b.jpg").symlink_to("a.jpg")
    assert total(root) == 1 and rows(root)[0]["image"].read() == PIXELS


def test_the_hubs_cache_keeps_pictures_as_links_into_its_blobs(tmp_path: Path) -> None:
    root = vizwiz(tmp_path / "snapshots" / "abc", "a.jpg")
    (tmp_path / "blobs").mkdir()
    (root / "val" / "a.jpg").rename(tmp_path / "blobs" / "hash")
    (root / "val" / "a.jpg").symlink_to(tmp_path / "blobs" / "hash")
    assert total(root) == 1


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = vizwiz(tmp_path, "pipe.jpg")
    os.mkfifo(root / "val" / "pipe.jpg")
    with pytest.raises(UsageError, match=r"val/pipe\.jpg is no regular file"):
        total(root)
    (root / "val.json").unlink()
    os.mkfifo(root / "val.json")
    with pytest.raises(UsageError, match=r"val\.json is no regular file"):
        rows(root)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"\n<!doctype html><title>404</title>", "is a text .a web page, SVG or PDF., no picture"),
    ],
)
def test_what_a_download_left_in_a_pictures_place_is_found_before_the_first_question(
    tmp_path: Path, data: bytes, said: str
) -> None:
    root = vizwiz(tmp_path, "a.jpg", "odd.jpg")
    (root / "val" / "odd.jpg").write_bytes(data)
    with pytest.raises(UsageError, match=rf"cannot be read: 1 \(val/odd\.jpg {said}"):
        total(root)


# -- archives


def packed(root: Path) -> Path:
    vizwiz(root, "a.jpg")
    with zipfile.ZipFile(root / "val.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(root / "val" / "a.jpg", "val/a.jpg")
    (root / "val" / "a.jpg").unlink()
    (root / "val").rmdir()
    pictures._archive.cache_clear()
    return root / "val.zip"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"no archive at all", "is not a readable zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_an_archive_that_is_none_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    packed(tmp_path).write_bytes(data)
    with pytest.raises(UsageError, match=rf"val\.zip {said}"):
        total(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (8, b"\x01", "is encrypted"),
        (24, b"\x00\x00\x00\x00", "is empty"),
        (24, b"\xff\xff\xff\xfe", "is too large for a picture"),
    ],
)
def test_a_member_that_could_not_be_unpacked_is_found_before_the_first_question(
    tmp_path: Path, place: int, value: bytes, said: str
) -> None:
    archive = packed(tmp_path)
    data = bytearray(archive.read_bytes())
    at = data.rfind(b"PK\x01\x02") + place
    data[at : at + len(value)] = value
    archive.write_bytes(data)
    with pytest.raises(UsageError, match=rf"val\.zip/val/a\.jpg {said}"):
        total(tmp_path)


def test_a_damaged_member_is_an_os_error_that_names_it(tmp_path: Path) -> None:
    archive = packed(tmp_path)
    data = bytearray(archive.read_bytes())
    data[40] ^= 0xFF
    archive.write_bytes(data)
    image: Image = rows(tmp_path)[0]["image"]
    with pytest.raises(OSError, match=r"val\.zip/val/a\.jpg: "):
        image.read()
