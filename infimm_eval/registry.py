"""Find and load benchmark plugins.  Knows where they lie; knows none by name.

A plugin is a Python file that defines ``TASK``.  The built-in ones live in the top-level
``tasks/`` folder; a wheel carries that folder inside the package.  Loading by file makes a
checkout, an editable install and a wheel behave alike, and lets ``--tasks ./mine.py`` work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from infimm_eval.errors import UsageError, unknown
from infimm_eval.types import Task


def names() -> list[str]:
    """The built-in benchmarks, by name."""
    return sorted(path.stem for path in _folder().glob("[!_]*.py"))


def select(chosen: Iterable[str | Task]) -> list[Task]:
    """Load tasks in the order given, each once; ``all`` stands for every built-in one."""
    listed = [name for word in chosen for name in (names() if word == "all" else [word])]
    words = [word for at, word in enumerate(listed) if word not in listed[:at]]
    tasks = [word if isinstance(word, Task) else load(word) for word in words]
    for task in tasks:
        if sum(other.name == task.name for other in tasks) > 1:
            raise UsageError(f"two tasks are called {task.name}; run them into different folders")
    return tasks


def load(name: str) -> Task:
    """Load a built-in task by name, one of your own by the path of its file, or, as
    ``name:split``, a further split of it."""
    name, colon, split = name.partition(":")
    task = _task(name)
    return split_of(task, split) if colon else task


def split_of(task: Task, name: str) -> Task:
    """The same benchmark on another of its splits, under ``name:split``."""
    if name not in task.splits:
        raise unknown(f"split of {task.name}", name, task.splits)
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
    known = {scorer.name: scorer for scorer in task.scorers}
    if name not in known:
        raise unknown(f"scorer of {task.name}", name, known)
    others = [scorer for scorer in task.scorers if scorer.name != name]
    return replace(task, scorers=(known[name], *others))


def _task(name: str) -> Task:
    path = Path(name) if name.endswith(".py") else _folder() / f"{name}.py"
    if not path.is_file():
        if name.endswith(".py"):
            raise UsageError(f"no task file {name}; give the path of a file that defines TASK")
        raise unknown("task", name, names())
    task = getattr(_module(path), "TASK", None)
    if not isinstance(task, Task):
        raise UsageError(f"{path} does not define TASK = Task(...)")
    return task


def _module(path: Path) -> object:
    name = f"infimm_eval.tasks.{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded as a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _folder() -> Path:
    package = Path(__file__).resolve().parent
    shipped = package / "tasks"
    return shipped if (shipped / "__init__.py").is_file() else package.parent / "tasks"
