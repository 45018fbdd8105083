"""The log in other people's formats: ``results.json`` for scripts, JSONL and Parquet for study."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infimm_eval.log.store import Log
from infimm_eval.log.values import Cell, Entry

RESULTS_SCHEMA = 1


def results(cells: Sequence[Cell]) -> dict[str, Any]:
    """The figures of a run as a value that is JSON: the contract that scripts rely on."""
    return {
        "schema": RESULTS_SCHEMA,
        "model": cells[0].settings["model"] if cells else {},
        "cells": [_cell(cell) for cell in cells],
    }


def write_results(folder: Path, cells: Sequence[Cell]) -> Path:
    """Write ``results.json`` whole or not at all."""
    path = folder / "results.json"
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps(results(cells), indent=2, ensure_ascii=False) + "\n", "utf-8")
    os.replace(draft, path)
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


def _cell(cell: Cell) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": cell.task,
        "shots": cell.shots,
        "seed": cell.seed,
        "headline": cell.headline,
        "value": cell.value,
        "ci95": list(cell.ci95) if cell.ci95 else None,
        "n": cell.n,
        "unscored": cell.unscored,
        "unparsed": cell.unparsed,
        "shortened": cell.shortened,
        "complete": cell.complete,
        "metrics": cell.metrics,
        "breakdown": cell.breakdown,
        "settings": cell.settings,
        "seconds": cell.seconds,
        "statistics": cell.statistics,
    }
    return body if cell.limit is None else {**body, "limit": cell.limit}


def _lines(log: Log) -> Iterator[dict[str, Any]]:
    for cell in log.cells():
        for entry in log.entries(cell.place):
            yield _line(entry)


def _line(entry: Entry) -> dict[str, Any]:
    answer, score = entry.answer, entry.score
    return {
        "task": entry.place.task,
        "shots": entry.place.shots,
        "seed": entry.place.seed,
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
    }
