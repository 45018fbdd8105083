"""Run folders to runs, each with a name that tells it apart from the others.

It refuses to know how anything is shown, and reads only what is finished.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infimm_eval import logs, published
from infimm_eval.errors import UsageError
from infimm_eval.logs import Cell, Draft, Log
from infimm_eval.texts import natural


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model's finished cells, in one folder or in several that hold different benchmarks."""

    folders: Mapping[Path, tuple[Cell, ...]]
    model: str
    name: str
    """The model's name; with the training step or the folder where several runs share it."""
    drafts: tuple[Draft, ...] = ()
    """Cells that were begun and have no figure."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them, as the papers' tables run."""
        return tuple(sorted((c for cells in self.folders.values() for c in cells), key=paper_order))

    @property
    def folder(self) -> Path:
        """The first folder."""
        return next(iter(self.folders))

    @property
    def step(self) -> int | None:
        """The training step, where the model's settings carry one."""
        step = section(self.cells[0], "model").get("step")
        return step if isinstance(step, int) and not isinstance(step, bool) else None


def gather(folders: Iterable[Path]) -> list[Run]:
    """The runs in ``folders``, in that order; a folder of run folders stands for all of them.

    Raises ``UsageError`` where a folder holds no run, a damaged one, or one without a figure.
    """
    found = [run for folder in folders for inner in _run_folders(folder) for run in _read(inner)]
    return _told_apart(_merged(found))


def section(cell: Cell, name: str) -> Mapping[str, Any]:
    """``protocol``, ``model`` or ``code`` of a cell's settings."""
    part = cell.settings.get(name)
    return part if isinstance(part, Mapping) else {}


def is_demo(cell: Cell) -> bool:
    """Whether the model or the data is the one that ships with the program."""
    return has_demo_data(cell) or has_demo_model(cell)


def has_demo_data(cell: Cell) -> bool:
    """Whether the data is drawn by the program."""
    data = section(cell, "protocol").get("data")
    return (data.get("kind") if isinstance(data, Mapping) else data) == "demo"


def has_demo_model(cell: Cell) -> bool:
    """Whether the model is the one that ships with the program."""
    return bool(section(cell, "model").get("demo")) or cell.model.lower().startswith("demo")


def by_spot(cells: Iterable[Cell]) -> dict[tuple[str, int, str], list[Cell]]:
    """Plain cells of one run by (task, shots, support): several where several seeds were run."""
    groups: dict[tuple[str, int, str], list[Cell]] = {}
    for cell in cells:
        if cell.control is None:
            groups.setdefault((cell.task, cell.shots, cell.support or ""), []).append(cell)
    return groups


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the --output of a finished run")
    if (folder / logs.FILE).is_file():
        return [folder]
    found = (file.parent for file in folder.glob(f"*/{logs.FILE}"))
    inner = sorted(found, key=lambda path: natural(path.name))
    if not inner:
        raise UsageError(
            f"{folder} is not a run folder: neither it nor its folders have {logs.FILE}"
        )
    return inner


def _read(folder: Path) -> list[Run]:
    try:
        with Log(folder) as journal:
            cells, drafts = journal.shown(), tuple(journal.drafts())
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{folder / logs.FILE} is damaged ({error}); run it again") from error
    if not cells:
        begun = sum(draft.answered for draft in drafts)
        raise UsageError(
            f"{folder} has no finished cell ({begun} answers so far);"
            " start its command again to continue it"
        )
    models = dict.fromkeys(cell.model for cell in cells)
    return [
        Run(
            folders={folder: tuple(cell for cell in cells if cell.model == model)},
            model=model,
            name=model,
            drafts=drafts if first else (),
        )
        for first, model in ((i == 0, model) for i, model in enumerate(models))
    ]


def _merged(runs: Sequence[Run]) -> list[Run]:
    """Runs of one model in folders that hold different cells become one."""
    merged: list[Run] = []
    for run in runs:
        for at, other in enumerate(merged):
            if _one_model(run, other) and not _spots(run) & _spots(other):
                folders = {**other.folders, **run.folders}
                drafts = other.drafts + run.drafts
                merged[at] = replace(other, folders=folders, drafts=drafts)
                break
        else:
            merged.append(run)
    return merged


def _one_model(one: Run, other: Run) -> bool:
    return section(one.cells[0], "model") == section(other.cells[0], "model")


def _spots(run: Run) -> set[Any]:
    return {cell.key.spot for cell in run.cells}


def paper_order(cell: Cell) -> tuple[int, str, int, int]:
    """As the papers' tables run, then what no paper has."""
    first, *others = (published.columns(stage) for stage in published.STAGES)
    columns = [*first, *published.further_columns(), *(c for columns in others for c in columns)]
    known = [at for at, column in enumerate(columns) if column in cell.columns]
    return (min(known, default=len(columns)), cell.task, cell.shots, cell.seed)


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    named = _extended(runs, lambda run: f"step {run.step:,}" if run.step is not None else "")
    named = _extended(named, lambda run: run.folder.resolve().name)
    return _extended(named, lambda run: str(run.folder))


def _extended(runs: Sequence[Run], how: Any) -> list[Run]:
    seen = Counter(run.name for run in runs)
    return [
        replace(run, name=f"{run.name} ({how(run)})") if seen[run.name] > 1 and how(run) else run
        for run in runs
    ]
