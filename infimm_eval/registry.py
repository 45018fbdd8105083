"""Find and load benchmarks: the built-in ones, installed plugins, and files of one's own.

A benchmark is a file, or a folder with an ``__init__.py``, that defines ``TASK``.  The built-in
ones lie in the top-level ``tasks/`` folder, which a wheel carries inside the package; plugins are
found by the entry point group ``infimm_eval.tasks``.  Knows where they lie; knows none by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from infimm_eval import plugins
from infimm_eval.data.checking import check_task
from infimm_eval.errors import UsageError, unknown
from infimm_eval.types import Task

ENTRY_POINTS = "infimm_eval.tasks"
"""Where an installed package offers benchmarks: ``mine = "package.module:TASK"``."""


def names() -> list[str]:
    """The built-in benchmarks, by name."""
    return sorted(_built_in())


def select(chosen: Iterable[str | Task]) -> list[Task]:
    """Load tasks in the order given, each name once; ``all`` stands for every built-in one."""
    tasks: list[Task] = []
    seen: set[str] = set()
    for one in chosen:
        if isinstance(one, Task):
            check_task(one, f"the task {one.name}")
            tasks.append(one)
            continue
        for name in names() if one == "all" else [one]:
            task = load(name)
            called = name if _is_path(name) else task.name
            if called not in seen:
                tasks.append(task)
            seen.add(called)
    for task in tasks:
        if sum(other.name == task.name for other in tasks) > 1:
            raise UsageError(f"two tasks are called {task.name}; run them into different folders")
    return tasks


def load(name: str) -> Task:
    """Load a task by name (built-in, or of an installed plugin) or by the path of its file or
    folder (``./mine.py``, ``./mine``); ``task:split`` is a further split of one.

    Names are taken as people write them: ``COCO``, ``OK-VQA`` and the title in the papers'
    tables (``InfiMM-Eval``) name the same benchmark as ``coco``, ``okvqa`` and ``core_mm``."""
    name, colon, split = name.partition(":")
    task = _task(name)
    return split_of(task, split) if colon else task


def named(tasks: Iterable[Task], name: str) -> str | None:
    """What the one of the tasks is called that a person means by ``name``; ``None``: no one."""
    tasks = list(tasks)
    alike = [task.name for task in tasks if plain(name) in (plain(task.name), plain(task.title))]
    return next((n for n in alike if n == name), alike[0] if len(alike) == 1 else None)


def plain(name: str) -> str:
    """A name without case, spaces and marks, but for the colon before a split."""
    return re.sub(r"[^a-z0-9:]", "", name.lower())


def split_of(task: Task, name: str) -> Task:
    """The same benchmark on another of its splits, under ``name:split``."""
    if name not in task.splits:
        alike = [known for known in task.splits if plain(known) == plain(name)]
        if len(alike) != 1:
            raise unknown(f"split of {task.name}", name, task.splits)
        name = alike[0]
    split = task.splits[name]
    submission = split.submission or task.submission
    if submission is not None and split.filename:
        submission = replace(submission, filename=split.filename)
    return replace(
        task,
        name=f"{task.name}:{name}",
        title=split.title,
        source=split.source,
        columns=split.columns,
        withheld=split.withheld,
        submission=submission,
    )


def scored_by(task: Task, name: str) -> Task:
    """The same benchmark with another of its scorers as the one that makes the headline."""
    chosen = [scorer for scorer in task.scorers if scorer.name == name]
    if not chosen:
        raise unknown(f"scorer of {task.name}", name, [scorer.name for scorer in task.scorers])
    return replace(task, scorers=(*chosen, *(s for s in task.scorers if s.name != name)))


def _task(name: str) -> Task:
    if _is_path(name):
        module = plugins.from_file(Path(name), "infimm_eval.own_tasks")
        found, where = plugins.attribute(module, "TASK"), name
    elif name in (built_in := _built_in()):
        module = plugins.from_file(built_in[name], "infimm_eval.tasks")
        found, where = plugins.attribute(module, "TASK"), f"the task {name}"
    else:
        offered = plugins.installed(ENTRY_POINTS)
        if name not in offered:
            if (meant := _meant(name, built_in)) is None:
                raise unknown("task", name, {*built_in, *offered})
            return _task(meant)
        found, where = plugins.from_entry_point(offered[name]), f"the plugin {name}"
    if not isinstance(found, Task):
        raise UsageError(f"{where}: TASK is no Task(...)")
    check_task(found, where)
    return found


def _meant(name: str, built_in: Iterable[str]) -> str | None:
    """The built-in benchmark that a person calls so; titles are read only where no name fits."""
    close = [known for known in built_in if plain(known) == plain(name)]
    return close[0] if close else named((_task(known) for known in sorted(built_in)), name)


def _is_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name


def _built_in() -> dict[str, Path]:
    """File or folder of each: inside this package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    shipped = package / "tasks"
    tasks = shipped if (shipped / "__init__.py").is_file() else package.parent / "tasks"
    files = {path.stem: path for path in tasks.glob("[!_]*.py")}
    return files | {path.parent.name: path.parent for path in tasks.glob("[!_]*/__init__.py")}
