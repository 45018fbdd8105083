"""Figures as csv, Parquet and JUnit XML.  Knows neither papers nor services."""

from __future__ import annotations

import csv as csv_module
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from infimm_eval.logs.export import sample_line
from infimm_eval.logs.publish import carried
from infimm_eval.logs.publish.clean import clean_text
from infimm_eval.logs.publish.published import (
    Published,
    label,
    measured_how,
    model_name,
    scorer,
    write,
)
from infimm_eval.logs.store import Log
from infimm_eval.logs.values import Cell
from infimm_eval.submissions.sheets import clean as printable

_TOGETHER = 512
"""So many samples are in memory at once."""


def csv(log: Log, output: Path) -> Published:
    """``cells.csv``: UTF-8, one row a cell."""
    rows = [_row(cell) for cell in log.shown()]
    text = io.StringIO(newline="")
    writer = csv_module.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return Published(files=(write(output / "cells.csv", text.getvalue()),))


def _row(cell: Cell) -> dict[str, Any]:
    low, high = cell.ci95 or (None, None)
    return {
        "model": model_name(cell),
        "task": cell.task,
        "title": cell.title,
        "shots": cell.shots,
        "seed": cell.seed,
        "control": cell.control,
        "support": cell.support,
        "metric": cell.headline,
        "value": cell.value,
        "low": low,
        "high": high,
        "n": cell.n,
        "n_of": cell.n_of,
        "unscored": cell.unscored,
        "unparsed": cell.unparsed,
        "complete": cell.complete,
        "scorer": scorer(cell).get("name"),
        "scorer_version": scorer(cell).get("version"),
    }


def parquet(log: Log, output: Path) -> Published:
    """``cells.parquet`` and ``samples.parquet``; lists stay lists, parts are a map."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    output.mkdir(parents=True, exist_ok=True)
    cells, samples = output / "cells.parquet", output / "samples.parquet"
    pq.write_table(pa.Table.from_pylist([_row(cell) for cell in log.shown()]), cells)
    schema = _schema(pa)
    lines = _samples(log)
    with pq.ParquetWriter(samples, schema) as writer:
        while some := list(islice(lines, _TOGETHER)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
    return Published(files=(cells, samples))


def _schema(pa: Any) -> Any:
    text, texts, whole = pa.string(), pa.list_(pa.string()), pa.int64()
    return pa.schema(
        [
            *(("task", text), ("shots", whole), ("seed", whole), ("control", text)),
            *(("support", text), ("id", text), ("prompt", text), ("pictures", texts)),
            *(("shot_ids", texts), ("references", texts), ("answer", text), ("finish", text)),
            *(("said", text), ("read_as", text), ("score", pa.float64())),
            ("parts", pa.map_(text, pa.float64())),
        ]
    )


def _samples(log: Log) -> Iterator[dict[str, Any]]:
    for cell in log.shown():
        for entry in log.entries(cell.key):
            line = {**sample_line(cell, entry), "read_as": carried.heard(entry)}
            yield {name: _cleaned(value) for name, value in line.items()}


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value).encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {name: float(part) for name, part in value.items()}
    return [_cleaned(inner) for inner in value] if isinstance(value, Sequence) else value


def junit(log: Log, output: Path) -> Published:
    """``cells.xml``: a test case a cell, skipped where the cell is incomplete.  What became worse
    is ``compare --junit``'s to say."""
    cells = log.shown()
    names = dict.fromkeys(map(model_name, cells))
    skipped = sum(not cell.complete for cell in cells)
    counts = {"tests": str(len(cells)), "failures": "0", "errors": "0", "skipped": str(skipped)}
    suites = ElementTree.Element("testsuites", {**counts, "time": "0"})
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": printable(", ".join(names)), **counts, "time": "0"}
    )
    for cell in cells:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=printable(f"infimm_eval.{cell.task}"),
            name=printable(f"{label(cell)}, {cell.headline}"),
            time=f"{cell.seconds:.3f}",
        )
        if cell.complete:
            ElementTree.SubElement(case, "system-out").text = printable(_said(cell))
        else:
            ElementTree.SubElement(case, "skipped", message=printable(_said(cell)))
    ElementTree.indent(suites)
    body = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return Published(files=(write(output / "cells.xml", body + b"\n"),))


def _said(cell: Cell) -> str:
    value = "no figure" if cell.value is None else f"{cell.value!r}"
    return f"{value}; {measured_how(cell)}"
