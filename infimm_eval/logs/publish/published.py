"""What publishing gives back, and the words that every format says about a cell."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.logs.publish.clean import clean_name
from infimm_eval.logs.values import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Files that were written, and how a person would send them."""

    files: tuple[Path, ...]
    command: str = ""
    """What uploads them, for a person to run; "": they are for the disk."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """What the hub calls benchmarks: by ``task``, by ``task@shots``, or ``""`` for the only one."""

    datasets: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)

    def of(self, cell: Cell) -> tuple[str, str] | None:
        """Dataset and task of a cell; ``None`` where either was not named."""
        names = (f"{cell.task}@{cell.shots}", cell.task, "")
        dataset, task = (
            next((ids[name] for name in names if name in ids), "")
            for ids in (self.datasets, self.tasks)
        )
        return (dataset, task) if dataset and task else None


def label(cell: Cell) -> str:
    """``vqav2, 4-shot``; seed, control and support where they are not the usual."""
    parts = [cell.task, f"{cell.shots}-shot"]
    parts += [f"seed {cell.seed}"] * bool(cell.seed)
    parts += [cell.control] if cell.control else []
    parts += [f"{cell.support} shots"] if cell.support not in (None, "random") else []
    return ", ".join(parts)


def scorer(cell: Cell) -> Mapping[str, Any]:
    """Name and version of the scorer behind the headline."""
    told = cell.settings.get("protocol", {}).get("scorer")
    return told if isinstance(told, Mapping) else {}


def measured_how(cell: Cell) -> str:
    """One line for a note: interval, samples, scorer."""
    parts = [f"{cell.headline}, {cell.shots}-shot, seed {cell.seed}"]
    if cell.control:
        parts.append(cell.control)
    if cell.ci95:
        parts.append(f"95% CI [{cell.ci95[0]:.2f}, {cell.ci95[1]:.2f}]")
    parts.append(f"n {cell.n}" + (f" of {cell.n_of}" if cell.subset else ""))
    if not cell.complete:
        parts.append("incomplete")
    if name := scorer(cell).get("name"):
        parts.append(f"scorer {name} v{scorer(cell).get('version')}")
    version = cell.settings.get("code", {}).get("infimm_eval")
    return "; ".join([*parts, f"infimm_eval {version}"])


def model_name(cell: Cell) -> str:
    """The model without the folders that it lies in; a hub's ``owner/name`` stays."""
    return clean_name(cell.model)


def write(path: Path, content: str | bytes) -> Path:
    """The whole file or the old one.  ``UsageError`` where it cannot be written."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another --output"
        ) from error
    return path
