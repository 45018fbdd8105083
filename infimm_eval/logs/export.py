"""The log in other people's formats: ``results.json`` for scripts, JSONL and Parquet for study."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infimm_eval.logs.store import Log
from infimm_eval.logs.values import Cell, Entry

RESULTS_SCHEMA = 2


def results(cells: Sequence[Cell], in_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The figures of a run, those that tables show, as a value that is JSON: the contract that
    scripts rely on.  ``in_context``: what the shots taught, once that is known (``icl``)."""
    found = {
        "schema": RESULTS_SCHEMA,
        "model": cells[0].settings["model"] if cells else {},
        "cells": [cell_row(cell) for cell in cells],
    }
    return found if in_context is None else {**found, "in_context": in_context}


def write_results(
    folder: Path, cells: Sequence[Cell], in_context: Mapping[str, Any] | None = None
) -> Path:
    """Write ``results.json`` whole or not at all."""
    path = folder / "results.json"
    draft = path.with_suffix(".json.part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(json.dumps(results(cells, in_context), indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return path


def write_jsonl(log: Log, path: Path) -> None:
    """One line a sample: what was asked, said, read and scored."""
    with path.open("w", encoding="utf-8") as file:
        for line in _lines(log):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_parquet(log: Log, path: Path) -> None:
    """The same as a Parquet table."""
    import pandas as pd

    pd.DataFrame(list(_lines(log))).to_parquet(path, index=False)


def cell_row(cell: Cell) -> dict[str, Any]:
    """A cell as ``results.json`` has it."""
    body: dict[str, Any] = {
        "task": cell.task,
        "shots": cell.shots,
        "seed": cell.seed,
        "control": cell.control,
        "support": cell.support,
        "headline": cell.headline,
        "value": cell.value,
        "ci95": list(cell.ci95) if cell.ci95 else None,
        "n": cell.n,
        "n_of": cell.n_of,
        "n_changed": cell.n_changed,
        "unscored": cell.unscored,
        "unparsed": cell.unparsed,
        "cut": cell.cut,
        "empty": cell.empty,
        "shortened": cell.shortened,
        "lost_shots": cell.lost_shots,
        "complete": cell.complete,
        "metrics": cell.metrics,
        "breakdown": cell.breakdown,
        "picture_tokens": cell.picture_tokens,
        "others": cell.others,
        "settings": cell.settings,
        "seconds": cell.seconds,
        "statistics": cell.statistics,
        "workers": cell.workers,
    }
    return body if cell.limit is None else {**body, "limit": cell.limit}


def _lines(log: Log) -> Iterator[dict[str, Any]]:
    for cell in log.shown():
        for entry in log.entries(cell.key):
            yield sample_line(cell, entry)


def sample_line(cell: Cell, entry: Entry) -> dict[str, Any]:
    """One sample of a cell as a flat value that is JSON."""
    answer, score = entry.answer, entry.score
    return {
        "task": cell.task,
        "shots": cell.shots,
        "seed": cell.seed,
        "control": cell.control,
        "support": cell.support,
        "id": entry.sample.id,
        "prompt": entry.prompt,
        "pictures": [name for _, name in entry.pictures],
        "shot_ids": list(entry.shot_ids),
        "references": list(entry.sample.references),
        "answer": answer.text if answer else None,
        "finish": answer.finish if answer else None,
        "said": entry.said,
        "read_as": score.read_as if score else None,
        "score": score.value if score else None,
        "parts": dict(score.parts) if score else {},
    }
