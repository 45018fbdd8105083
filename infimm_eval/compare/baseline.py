"""Cells from where they lie: a run's folder, or a baseline file small enough to commit.

A baseline keeps ids, scores and settings; it refuses to keep questions, answers and pictures.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from infimm_eval import logs
from infimm_eval.compare.cells import Cell, of_run
from infimm_eval.data import reading
from infimm_eval.errors import UsageError
from infimm_eval.types import Unit

SCHEMA = 2
AGAIN = "make it anew with compare --save-baseline"


def load(path: Path) -> list[Cell]:
    """The cells of a run folder or of a baseline file.  ``UsageError`` where it is neither."""
    if path.is_dir():
        return _of_folder(path)
    if path.name == logs.FILE and path.is_file():
        return _of_folder(path.parent)
    return read_baseline(path)


def _of_folder(folder: Path) -> list[Cell]:
    with logs.Log(folder) as log:
        return [of_run(cell, log.units(cell.key)) for cell in log.shown()]


def save_baseline(cells: Sequence[Cell], path: Path) -> None:
    """Write a baseline, whole or not at all; compressed where the name ends in ``.gz``.

    Scores keep every bit: they are written as the shortest decimal that reads back the same.  A
    cell is one line, so that a change of one task is a change of one line.
    """
    lines = ",\n".join(json.dumps(_packed_cell(cell)) for cell in cells)
    content = f'{{"baseline": {SCHEMA}, "cells": [\n{lines}\n]}}\n'.encode()
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror})") from error


def read_baseline(path: Path) -> list[Cell]:
    """Read what ``save_baseline`` wrote.  ``UsageError`` says in one line what is wrong."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        body = json.loads(content, parse_int=reading.finite_integer)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist; give a run folder or a baseline file") from error
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a readable baseline ({error}); {AGAIN}") from error
    if not isinstance(body, dict) or "baseline" not in body:
        raise UsageError(f"{path} is not a baseline; give a run folder, or {AGAIN}")
    schema = body["baseline"]
    if schema not in (1, SCHEMA):
        raise UsageError(
            f"{path} has baseline schema {schema!r}, this version reads 1 to {SCHEMA}; {AGAIN}"
        )
    cells = body.get("cells")
    if not isinstance(cells, list):
        raise UsageError(f"{path} is damaged: it has no list of cells; {AGAIN}")
    found = []
    for position, cell in enumerate(cells, start=1):
        try:
            found.append(_cell(_of_schema_1(cell) if schema == 1 else cell))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UsageError(f"{path} is damaged: cell {position}: {error!r}; {AGAIN}") from error
    return found


# -- one cell ------------------------------------------------------------------------------------

KINDS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "title": str,
    "shots": int,
    "seed": int,
    "model": str,
    "headline": str,
    "value": (int, float, type(None)),
    "scale": (int, float),
    "n": int,
    "unscored": int,
    "complete": bool,
    "missing": int,
    "limit": (int, type(None)),
    "control": (str, type(None)),
    "support": (str, type(None)),
    "settings": dict,
}


def _packed_cell(cell: Cell) -> dict[str, Any]:
    body = {f.name: getattr(cell, f.name) for f in fields(cell) if f.name != "units"}
    ids = [u.id for u in cell.units]
    clusters = [u.cluster for u in cell.units]
    body["units"] = {
        "id": ids,
        "cluster": None if clusters == ids else _packed(clusters),
        "value": _packed([_short(u.value) for u in cell.units]),
        "weight": _packed([_short(u.weight) for u in cell.units]),
        "stratum": _packed([u.stratum for u in cell.units]),
    }
    return body


def _of_schema_1(body: dict[str, Any]) -> dict[str, Any]:
    """A cell of the first schema in the words of today's: its scorer was recorded by name alone,
    and counts as that scorer's version 1."""
    settings = dict(body["settings"])
    protocol = dict(settings.get("protocol", {}))
    if "ruler" in protocol:
        protocol["scorer"] = {"name": protocol.pop("ruler"), "version": 1, "digest": None}
    whole = body["complete"] or body["limit"] is not None
    return {
        **body,
        "settings": {**settings, "protocol": protocol},
        "missing": body["unscored"] if whole else max(1, body["unscored"]),
        "control": None,
        "support": protocol.get("support") if body["shots"] else None,
    }


def _cell(body: dict[str, Any]) -> Cell:
    packed = body["units"]
    values = {name: body[name] for name in KINDS}
    for name, kind in KINDS.items():
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is {values[name]!r}")
    ids = packed["id"]
    clusters = ids if packed["cluster"] is None else _unpacked(packed["cluster"], len(ids))
    columns = [_unpacked(packed[name], len(ids)) for name in ("value", "weight", "stratum")]
    units = [_unit(*row) for row in zip(ids, clusters, *columns, strict=True)]
    return Cell(**values, units=units)


def _unit(id: Any, cluster: Any, value: Any, weight: Any, stratum: Any) -> Unit:
    if not all(isinstance(text, str) for text in (id, cluster, stratum)):
        raise TypeError(f"unit {id!r} has a name that is not text")
    if not math.isfinite(value) or not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"unit {id!r} scores {value!r} with weight {weight!r}")
    return Unit(id, cluster, float(value), float(weight), stratum)


def _packed(values: list[Any]) -> Any:
    """A column: one value for all, or the distinct values and who has which, or a plain list."""
    distinct = {value: place for place, value in enumerate(dict.fromkeys(values))}
    if len(distinct) == 1:
        return {"all": values[0]}
    if len(distinct) <= len(values) / 4:
        return {"of": list(distinct), "at": [distinct[value] for value in values]}
    return values


def _unpacked(column: Any, length: int) -> list[Any]:
    if isinstance(column, list):
        return column
    if "all" in column:
        return [column["all"]] * length
    return [column["of"][place] for place in column["at"]]


def _short(number: float) -> float:
    """1.0 as 1: fewer bytes, the same number."""
    return int(number) if number == int(number) else number
