from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from infimm_eval import registry
from infimm_eval.errors import UsageError

ROOT = Path(__file__).parent.parent

MINE = """
from infimm_eval import metrics, prompts
from infimm_eval.scorers import vqa
from infimm_eval.types import Sample, Source, Task
{more}
TASK = Task(
    name={name!r}, title="Mine", version=1, headline="accuracy", source=Source(),
    sample=lambda row: Sample(id=row["id"]), metrics=metrics.mean("accuracy"),
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    scorers=(vqa.always,),
)
"""


def mine(path: Path, name: str = "mine", more: str = "") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MINE.format(name=name, more=more))
    return str(path)


def test_all_names_every_benchmark_once() -> None:
    chosen = [task.name for task in registry.select(["vqav2", "all", "coco"])]
    assert chosen[0] == "vqav2"
    assert sorted(chosen) == registry.names()


def test_a_task_that_is_at_hand_is_taken_as_it_is() -> None:
    task = registry.load("vqav2")
    assert registry.select([task, "coco"])[0] is task


def test_a_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown task 'vqa2'; did you mean 'vqav2'"):
        registry.load("vqa2")


def test_a_further_split_is_asked_for_by_name() -> None:
    task = registry.load("vqav2:test2015")
    assert (task.name, task.withheld, task.source.size) == ("vqav2:test2015", True, 447_793)
    assert task.submission is not None and "test2015" in task.submission.filename
    with pytest.raises(UsageError, match="unknown split of vqav2 'test'"):
        registry.load("vqav2:test")


def test_another_scorer_makes_the_headline() -> None:
    task = registry.scored_by(registry.load("mmbench"), "judged")
    names = [scorer.name for scorer in task.scorers]
    assert names == ["judged", "vlmevalkit", "vlmevalkit-2023", "lmms", "letter"]
    with pytest.raises(UsageError, match="unknown scorer of mmbench 'judge'; did you mean 'jud"):
        registry.scored_by(task, "judge")


def test_a_task_of_ones_own_is_loaded_by_the_path_of_its_file(tmp_path: Path) -> None:
    assert registry.load(mine(tmp_path / "mine.py")).name == "mine"


def test_a_file_called_like_a_benchmark_leaves_that_as_it_is(tmp_path: Path) -> None:
    own = registry.load(mine(tmp_path / "mme.py", "own"))
    assert (own.name, registry.load("mme").name) == ("own", "mme")


def test_a_folder_of_ones_own_has_modules_that_import_each_other(tmp_path: Path) -> None:
    for place in ("one", "other"):
        (tmp_path / place / "mine").mkdir(parents=True)
        (tmp_path / place / "mine" / "words.py").write_text(f"NAME = {place!r}\n")
        more = "from .words import NAME\n"
        mine(tmp_path / place / "mine" / "__init__.py", "mine", more)
        task = registry.load(f"{tmp_path}/{place}/mine")
        assert task.sample.__globals__["NAME"] == place  # type: ignore[attr-defined]


def test_an_installed_package_offers_tasks_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine(tmp_path / "their_package.py", "theirs")
    monkeypatch.syspath_prepend(tmp_path)
    offered = [
        EntryPoint("theirs", "their_package:TASK", registry.ENTRY_POINTS),
        EntryPoint("lost", "their_package:LOST", registry.ENTRY_POINTS),
    ]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: EntryPoints(offered))
    assert registry.load("theirs").name == "theirs"
    assert "theirs" not in registry.names()
    with pytest.raises(UsageError, match=r"lost \(their_package:LOST\) cannot be imported"):
        registry.load("lost")
    with pytest.raises(UsageError, match="unknown task 'their'; did you mean 'theirs'"):
        registry.load("their")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text(""), r"mine\.py does not define TASK"),
        (lambda path: path.write_text("TASK = 1"), r"mine\.py: TASK is no Task\(\.\.\.\)"),
        (lambda path: path.write_text("import nothing_of_this"), "No module named 'nothing_of_th"),
        (lambda path: None, r"no file .*mine\.py"),
    ],
)
def test_a_file_that_holds_no_task_is_said_so(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "mine.py")
    with pytest.raises(UsageError, match=message):
        registry.load(str(tmp_path / "mine.py"))


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    own = mine(tmp_path / "mine.py", "vqav2")
    with pytest.raises(UsageError, match="two tasks are called vqav2"):
        registry.select(["vqav2", own])


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["", "infimm_eval"])
def test_tasks_are_found_beside_the_package_and_inside_it(inside: str, tmp_path: Path) -> None:
    """A checkout has them beside it, a wheel inside."""
    (tmp_path / "infimm_eval").mkdir()
    for part in (ROOT / "infimm_eval").iterdir():
        (tmp_path / "infimm_eval" / part.name).symlink_to(part)
    (tmp_path / "infimm_eval" / "registry.py").unlink()
    text = (ROOT / "infimm_eval" / "registry.py").read_text()
    (tmp_path / "infimm_eval" / "registry.py").write_text(text)
    (tmp_path / inside / "tasks").symlink_to(ROOT / "tasks")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from infimm_eval import registry; print(*(t.name for t in registry.select(['all'])))",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stdout.split() == registry.names(), done.stderr
