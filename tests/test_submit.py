"""``submit``: a complete file for the leaderboard, or one line that says what is missing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.run.submit import submit
from infimm_eval.scorers import caption
from infimm_eval.types import Task

Run = Callable[..., list[logs.Cell]]


def few(name: str, count: int = 12) -> Task:
    """The benchmark, whose demo split ends after ``count`` rows; captions without METEOR."""
    task = registry.load(name)
    scorers = (caption.cider,) if task.scorers[0].name == "CIDEr-D" else task.scorers
    short = replace(task.source, demo=lambda: islice(task.source.demo(), count))
    return replace(task, source=short, scorers=scorers)


def ids(path: Path, key: str = "question_id") -> list[int]:
    return [row[key] for row in json.loads(path.read_text(encoding="utf-8"))]


def test_a_complete_run_is_written_where_it_is_looked_for(run: Run, tmp_path: Path) -> None:
    task = few("vqav2")
    run(task, model=Fake("Two, or three."))
    path, count, empty = submit(task, tmp_path / "run")
    assert path.relative_to(tmp_path) == Path(
        "run/submissions/vqav2/v2_OpenEnded_mscoco_val2014_infimm_results.json"
    )
    assert (count, empty, len(set(ids(path)))) == (12, 0, 12)
    assert json.loads(path.read_text())[0]["answer"] == "2"  # cut at the comma, then normalised


def test_a_split_has_a_folder_and_a_name_of_its_own(run: Run, tmp_path: Path) -> None:
    task = few("vqav2:test2015")
    run(task)
    path, _, _ = submit(task, tmp_path / "run")
    assert path.parts[-2:] == (
        "vqav2-test2015",
        "v2_OpenEnded_mscoco_test2015_infimm_results.json",
    )


@pytest.mark.slow
def test_both_caption_splits_go_into_one_archive(run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "results.zip"
    for name in ("coco:val2014", "coco:test2014"):
        run(few(name, 3))
        submit(few(name, 3), tmp_path / "run", archive)
    with zipfile.ZipFile(archive) as packed:
        rows = {name: json.loads(packed.read(name)) for name in packed.namelist()}
    assert {name: len(found) for name, found in rows.items()} == {
        "captions_val2014_infimm_results.json": 3,
        "captions_test2014_infimm_results.json": 3,
    }
    assert all(row.keys() == {"image_id", "caption"} for found in rows.values() for row in found)


def test_a_limited_run_is_refused_unless_partial_is_allowed(run: Run, tmp_path: Path) -> None:
    task = few("vqav2")
    run(task, limit=5)
    with pytest.raises(UsageError, match=r"was run with --limit 5; run all of it, or pass --allow"):
        submit(task, tmp_path / "run")
    assert submit(task, tmp_path / "run", allow_partial=True)[1:] == (5, 0)


def test_allowed_partial_files_are_filled_to_the_complete_id_set(run: Run, tmp_path: Path) -> None:
    task = few("vqav2")
    run(task, model=Fake("yes"), limit=5)
    path, count, empty = submit(task, tmp_path / "run", allow_partial=True, place="demo")
    assert (count, empty) == (12, 7)
    said = {row["question_id"]: row["answer"] for row in json.loads(path.read_text())}
    every = [int(task.sample(row).id) for row in task.source.demo()]
    assert list(said) == every
    assert list(said.values()) == ["yes"] * 5 + [""] * 7


def test_questions_without_an_answer_are_refused_or_filled(run: Run, tmp_path: Path) -> None:
    task = few("vqav2")
    run(task, model=Fake("yes", error_every=4))
    with pytest.raises(UsageError, match="3 questions of vqav2 have no answer; run the same"):
        submit(task, tmp_path / "run")
    path, count, empty = submit(task, tmp_path / "run", allow_partial=True)
    assert (count, empty) == (12, 3)
    assert [row["answer"] for row in json.loads(path.read_text())].count("") == 3


def test_of_several_cells_one_has_to_be_named(run: Run, tmp_path: Path) -> None:
    task = few("vqav2")
    run(task, model=Fake("yes"), shots=(0, 2))
    with pytest.raises(UsageError, match=r"has 2 cells .*--shots 0 --seed 0, --shots 2 --seed 0"):
        submit(task, tmp_path / "run")
    assert submit(task, tmp_path / "run", shots=2)[1] == 12


def test_a_benchmark_that_was_not_run_is_said_so(run: Run, tmp_path: Path) -> None:
    run(few("vqav2"))
    with pytest.raises(UsageError, match="has no finished mme; it has vqav2"):
        submit(few("mme"), tmp_path / "run")


def test_a_folder_without_a_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run folder"):
        submit(few("vqav2"), tmp_path)


def test_a_benchmark_without_a_leaderboard_is_said_so(run: Run, tmp_path: Path) -> None:
    task = replace(few("vqav2"), submission=None)
    with pytest.raises(UsageError, match="vqav2 has no submission format"):
        submit(task, tmp_path / "run")


def test_answers_withheld_do_not_keep_a_file_from_being_written(run: Run, tmp_path: Path) -> None:
    whole = few("vqav2:test2015")
    task = replace(whole, sample=lambda row: replace(whole.sample(row), references=()))
    (cell,) = run(task)
    assert cell.value is None and cell.complete
    assert submit(task, tmp_path / "run")[1:] == (12, 0)


def test_test_dev_is_refused_for_the_server_wants_all_of_the_test_split(
    run: Run, tmp_path: Path
) -> None:
    task = few("vqav2:test-dev2015")
    run(task)
    with pytest.raises(UsageError, match="wants all of test2015, also for its test-dev figure"):
        submit(task, tmp_path / "run", allow_partial=True)
    assert not (tmp_path / "run" / "submissions").exists()


def test_what_a_file_could_not_hold_is_said(run: Run, tmp_path: Path) -> None:
    task = few("mmbench", 3)
    run(task, model=Fake("B" * 40_000))
    told: list[str] = []
    path, _, _ = submit(task, tmp_path / "run", note=told.append)
    assert told == [
        f"{path}: 3 answers of more than 32,767 characters are cut there, as Excel's cells hold no "
        "more"
    ]
