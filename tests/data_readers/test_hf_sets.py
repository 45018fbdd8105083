"""Sets of the ``datasets`` library: ``save_to_disk`` folders, and what ``load_dataset`` opens."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image as Pillow

import infimm_eval as ie
from infimm_eval import data, metrics, prompts
from infimm_eval.errors import UsageError
from infimm_eval.scorers import yesno
from infimm_eval.types import Hub, Image, Row, Sample, Source, Task

FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "photo": datasets.Image(),
        "more": datasets.Sequence(datasets.Image()),
        "asked": datasets.Value("string"),
        "answer": datasets.Value("string"),
    }
)


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (8, 6), (shade, shade, shade)).save(out, "PNG")
    return out.getvalue()


def cell(shade: int) -> dict[str, Any]:
    return {"bytes": png(shade), "path": f"{shade}.png"}


def rows(count: int, at: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"q{at + n}", "photo": cell(at + n), "more": [cell(200 + n)] * (n % 3),
         "asked": f"Is it {n}?", "answer": ("yes", "no")[n % 2]}
        for n in range(count)
    ]  # fmt: skip


def made(count: int, at: int = 0) -> datasets.Dataset:
    return datasets.Dataset.from_list(rows(count, at), features=FEATURES)


def renamed(row: Row) -> Row:
    return {"id": row["id"], "image": row["photo"], "question": row["asked"], "more": row["more"],
            "answer": row["answer"], "row": row["row"]}  # fmt: skip


def hub(split: str) -> Hub:
    return Hub(repos=("somebody/signs",), split=split, convert=renamed)


TASK = Task(
    name="signs", title="Signs", version=1, headline="accuracy",
    source=Source(hub=hub("test")), shots=Source(hub=hub("train")),
    sample=lambda row: Sample(id=row["id"], images=(row["image"],), question=(row["question"],),
                              target=row["answer"], references=(row["answer"],)),
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    scorers=(yesno.plain,), metrics=metrics.mean("accuracy"),
)  # fmt: skip


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    held = datasets.DatasetDict({"train": made(6, 100), "test": made(5)})
    held.save_to_disk(tmp_path / "signs")
    return tmp_path / "signs"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the library prepares lies here and not in a person's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    yield tmp_path / "cache"


def test_a_saved_set_is_a_source_with_its_pictures_read_late(saved: Path) -> None:
    split = data.open_source(TASK.source, str(saved), title="Signs")
    first, second, third, *_ = split.rows()
    assert (first["id"], first["question"], first["row"]) == ("q0", "Is it 0?", 0)
    assert isinstance(first["image"], Image) and first["image"].read() == png(0)
    assert [len(row["more"]) for row in (first, second, third)] == [0, 1, 2]
    assert third["more"][1].read() == png(202)
    assert third["image"].name == "signs#2/photo" and third["image"].key != first["image"].key
    assert split.identity["kind"] == "datasets" and split.identity["rows"] == 5
    again = pickle.loads(pickle.dumps(third["more"][1]))
    assert again == third["more"][1] and again.read() == png(202)


def test_a_set_lies_in_the_data_folder_under_its_name_too(saved: Path) -> None:
    assert len(list(data.open_source(TASK.source, str(saved.parent), title="Signs").rows())) == 5


def test_a_benchmark_of_a_saved_set_runs_with_shots(saved: Path, tmp_path: Path) -> None:
    run = {"data": saved, "output": tmp_path / "run", "progress": False}
    results = ie.evaluate("fake:yes", tasks=[TASK], shots=[0, 2], **run)
    assert results["signs", 2].value == pytest.approx(60.0)
    assert results["signs", 0].n == 5
    shown = results.samples("signs", shots=2)["shot_ids"]
    assert {id for ids in shown for id in ids} <= {f"q{100 + n}" for n in range(6)}


def test_a_set_that_load_dataset_opens_is_named_by_hf(tmp_path: Path, cached: Path) -> None:
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    made(4).to_parquet(folder / "test-00000-of-00001.parquet")
    split = data.open_source(TASK.source, f"hf:{tmp_path / 'set'}", title="Signs")
    assert [row["id"] for row in split.rows()] == ["q0", "q1", "q2", "q3"]
    assert next(iter(split.rows()))["image"].read() == png(0)
    with pytest.raises(UsageError, match="'train' is wanted"):
        data.open_source(Source(hub=hub("train")), f"hf:{tmp_path / 'set'}", title="Signs")


@pytest.mark.parametrize("place", ["hf:signs", "hf:a/b/c/d", "hf:", "hf:a//b"])
def test_a_name_that_is_no_set_is_one_line(place: str) -> None:
    with pytest.raises(UsageError, match="OWNER/NAME"):
        data.open_source(TASK.source, place, title="Signs")


def test_what_a_set_lacks_is_one_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split 'val', but train, test"):
        data.open_source(Source(hub=hub("val")), str(saved), title="Signs")
    with pytest.raises(UsageError, match="hub=Hub"):
        data.open_source(Source(), str(saved), title="Signs")
    other = Source(hub=Hub(repos=("a/b",), split="test", convert=lambda row: {"id": row["nope"]}))
    with pytest.raises(UsageError, match="row 0 is not as published"):
        list(data.open_source(other, str(saved), title="Signs").rows())
    (saved / "test" / "data-00000-of-00001.arrow").write_bytes(b"ARROW?")
    with pytest.raises(UsageError, match=r"damaged|no Arrow file"):
        list(data.open_source(TASK.source, str(saved), title="Signs").rows())


def test_a_picture_that_is_only_named_is_read_from_the_sets_own_folder_alone(
    tmp_path: Path, cached: Path
) -> None:
    folder = tmp_path / "photos" / "test" / "yes"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(7))
    named = Source(hub=Hub(repos=("a/photos",), split="test"))
    (row,) = data.open_source(named, f"hf:{tmp_path / 'photos'}", title="Signs").rows()
    assert row["image"].read() == png(7)

    kinds = {"photo": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    names_another = [{"photo": {"bytes": None, "path": str(folder / "a.png")}}]
    one = datasets.Dataset.from_list(names_another, features=datasets.Features(kinds))
    one.save_to_disk(tmp_path / "one")
    (row,) = data.open_source(named, str(tmp_path / "one"), title="Signs").rows()
    with pytest.raises(OSError, match="no part of the set"):
        row["photo"].read()
