"""The hub's two places for figures: ``.eval_results/*.yaml`` of a model repository, and the
``model-index`` of a model card.

Whether a dataset and a task of these names exist is checked by the hub, not here.  Knows nothing
of how a figure came about but the line that it says about itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from statistics import fmean
from typing import Any

from infimm_eval.errors import UsageError, named
from infimm_eval.logs.publish.published import (
    Ids,
    Published,
    label,
    measured_how,
    model_name,
    write,
)
from infimm_eval.logs.store import Log
from infimm_eval.logs.values import Cell


def hf(log: Log, output: Path, ids: Ids) -> Published:
    """``.eval_results/infimm_eval.yaml`` and ``model_card.md``, whose front matter is to be put
    into the model's own README.

    ``UsageError`` where no cell has ids, and where two would have the same: the hub keeps one
    number a task.
    """
    cells = [cell for cell in log.shown() if cell.value is not None and cell.control is None]
    entries = _entries(cells, ids)
    results = write(output / ".eval_results" / "infimm_eval.yaml", _yaml(entries))
    card = write(output / "model_card.md", _card(cells, ids))
    left = sum(ids.of(cell) is None for cell in cells)
    notes = ["whether the hub knows these datasets and tasks is not checked here"]
    notes += [f"{left} cells have no --dataset-id and --task-id and are left out"] * bool(left)
    return Published(
        files=(results, card),
        command=f"hf upload YOUR/MODEL {quote(str(results.parent))} .eval_results",
        notes=tuple(notes),
    )


def _entries(cells: Sequence[Cell], ids: Ids) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if (known := ids.of(cell)) is not None:
            found.setdefault(known, []).append(cell)
    if not found:
        held = ", ".join(dict.fromkeys(f"{cell.task}@{cell.shots}" for cell in cells))
        raise UsageError(
            "name what the hub calls the benchmark: --dataset-id [TASK[@SHOTS]=]OWNER/NAME "
            f"--task-id [TASK[@SHOTS]=]NAME; the run has {held or 'no figure'}"
        )
    return [_entry(dataset, task, over) for (dataset, task), over in found.items()]


def _entry(dataset: str, task: str, over: Sequence[Cell]) -> dict[str, Any]:
    """One number: a cell's, or the mean over the seeds of one."""
    if dataset.count("/") != 1 or not all(dataset.split("/")):
        raise UsageError(f"--dataset-id should be OWNER/NAME of a dataset, not {named(dataset)}")
    first = over[0]
    for cell in over[1:]:
        if (cell.task, cell.shots, cell.support) != (first.task, first.shots, first.support):
            raise UsageError(
                f"{label(first)} and {label(cell)} would both be {dataset} {task}, and the hub "
                "keeps one number a task; name the one that is meant: --dataset-id "
                f"{cell.task}@{cell.shots}=ID --task-id {cell.task}@{cell.shots}=ID"
            )
    seeds = f"mean over seeds {', '.join(str(cell.seed) for cell in over)}; of the first "
    return {
        "dataset": {"id": dataset, "task_id": task},
        "value": fmean(cell.value for cell in over if cell.value is not None),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "notes": (seeds if len(over) > 1 else "") + measured_how(first),
    }


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _card(cells: Sequence[Cell], ids: Ids) -> str:
    """A model card's front matter and a table below it."""
    name = model_name(cells[0])
    results = [result for cell in cells for result in _result(cell, ids)]
    front = _yaml({"model-index": [{"name": name.rpartition("/")[2], "results": results}]})
    return f"---\n{front}---\n\n## Evaluation\n\n{_table(cells)}\n"


def _result(cell: Cell, ids: Ids) -> Iterable[dict[str, Any]]:
    """One result a cell.  Readers group what has the same task and dataset, and then keep the
    dataset's arguments of the first alone: shots and seed are the metric's."""
    dataset, _ = ids.of(cell) or (cell.task, "")
    arguments = {"shots": cell.shots, "seed": cell.seed, "n": cell.n}
    if cell.ci95:
        arguments["ci95"] = [*cell.ci95]  # type: ignore[assignment]
    yield {
        "task": {"type": "image-text-to-text", "name": cell.title},
        "dataset": {"type": dataset, "name": cell.title},
        "metrics": [
            {
                "type": cell.headline,
                "value": cell.value,
                "name": f"{cell.headline}, {label(cell).partition(', ')[2]}",
                "args": arguments,
            }
        ],
    }


def _table(cells: Sequence[Cell]) -> str:
    lines = ["| Benchmark | Shots | Metric | Value | 95 % | n |", "|:--|--:|:--|--:|--:|--:|"]
    for cell in cells:
        bounds = f"[{cell.ci95[0]:.1f}, {cell.ci95[1]:.1f}]" if cell.ci95 else ""
        size = f"{cell.n:,}" + (f" of {cell.n_of:,}" if cell.subset and cell.n_of else "")
        lines.append(
            f"| {_plain(cell.title)} | {cell.shots} | {_plain(cell.headline)} | {cell.value:.2f} "
            f"| {bounds} | {size} |"
        )
    return "\n".join([*lines, "", "Measured with infimm_eval."])


def _plain(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", " ".join(text.split()))
