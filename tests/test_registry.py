from __future__ import annotations

from pathlib import Path

import pytest

from infimm_eval import registry
from infimm_eval.errors import UsageError


def test_all_names_every_benchmark_once() -> None:
    chosen = [task.name for task in registry.select(["vqav2", "all"])]
    assert chosen[0] == "vqav2"
    assert sorted(chosen) == registry.names()


def test_a_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown task 'vqa2'; did you mean 'vqav2'"):
        registry.load("vqa2")


def test_a_further_split_is_asked_for_by_name() -> None:
    task = registry.load("vqav2:test2015")
    assert (task.name, task.withheld) == ("vqav2:test2015", True)
    assert task.submission is not None and "test2015" in task.submission.filename
    with pytest.raises(UsageError, match="unknown split of vqav2 'test'"):
        registry.load("vqav2:test")


def test_a_plugin_of_ones_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    neighbour = Path(registry.__file__).parents[1] / "tasks" / "vqav2.py"
    mine = tmp_path / "mine.py"
    mine.write_text(neighbour.read_text().replace('name="vqav2"', 'name="mine"'))
    assert registry.load(str(mine)).name == "mine"


def test_a_file_without_a_task_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match="does not define TASK"):
        registry.load(str(tmp_path / "empty.py"))
    with pytest.raises(UsageError, match="no task file"):
        registry.load(str(tmp_path / "absent.py"))


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    neighbour = Path(registry.__file__).parents[1] / "tasks" / "vqav2.py"
    (tmp_path / "mine.py").write_text(neighbour.read_text())
    with pytest.raises(UsageError, match="two tasks are called vqav2"):
        registry.select(["vqav2", str(tmp_path / "mine.py")])
