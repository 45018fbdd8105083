"""VLMEvalKit's sheets of predictions, ``<Model>_<Dataset>.xlsx``, tsv or json, and its totals.

Every cell is text: "None", "nan", "=12" are answers.  Of a sheet that was loaded and saved again,
an empty answer has become "nan".  Knows no benchmark.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from pathlib import Path

from infimm_eval.data import choices
from infimm_eval.data.reading import open_data, stream
from infimm_eval.errors import UsageError, shown
from infimm_eval.logs.foreign.values import ForeignLog, a_list, beside, mapping, number, whole
from infimm_eval.submissions import sheets
from infimm_eval.types import ForeignRecord

TOOL = "VLMEvalKit"
_MADE = re.compile(r"_(?:results?|auxmatch)$", re.IGNORECASE)
_VERSION = re.compile(r"v\d+|cn|en", re.IGNORECASE)
_API_FAILURE = "Failed to obtain answer via API"
_VALUES = ("hit", "eval_score", "score")
_HEARD = ("eval_pred", "extracted")


def sheet(path: Path) -> ForeignLog:
    """A sheet of predictions, as they were made or with a score each."""
    names = tuple(_names(path.stem))
    return ForeignLog(
        tool=TOOL,
        path=path,
        records=lambda: (("", record) for record in _records(path)),
        names=names,
        model="",
        figures=_totals(path, names),
    )


def _names(stem: str) -> Iterator[str]:
    """What the dataset may be called: model and dataset are joined by ``_``, and so is a judge with
    what it made, but for versions (``_V11``), which are other datasets."""
    words = stem.split("_")
    ends = range(len(words), 0, -1) if _MADE.search(stem) else [len(words)]
    for end in ends:
        if not any(_VERSION.fullmatch(word) for word in words[end:]):
            yield from ("_".join(words[at:end]) for at in range(end))


def _totals(path: Path, names: tuple[str, ...]) -> dict[str, float]:
    """The totals of the file beside it: ``_acc.csv``, ``_score.csv`` or ``_score.json``."""
    words = path.stem.split("_")
    for end in range(len(words), 0, -1):
        base = "_".join(words[:end])
        for name in (f"{base}_acc.csv", f"{base}_score.csv"):
            if (table := path.with_name(name)).is_file():
                return _first_row(table)
        if found := beside(path.with_name(f"{base}_score.json")):
            return {k: v for k, v in ((k, number(v)) for k, v in found.items()) if v is not None}
    return {}


def _first_row(table: Path) -> dict[str, float]:
    try:
        _, row = next(sheets.read(table, ()), (0, {}))
    except UsageError:  # it only says what the tool made of the answers, which are elsewhere
        return {}
    return {name: value for name, cell in row.items() if (value := number(cell)) is not None}


def _records(path: Path) -> Iterator[ForeignRecord]:
    for at, row in _rows(path):
        place = f"{path} row {at}"
        if "g_index" in row:
            raise UsageError(
                f"{path} holds one row a question, with the verdict over its rotations; give the "
                "sheet of predictions beside it, which has every row"
            )
        text = row["prediction"]
        options = choices.options(row, place)
        yield ForeignRecord(
            place=place,
            row=whole(row["index"]),
            id=row["index"],
            prompt=row.get("question", ""),
            target=row.get("answer", ""),
            references=tuple(a_list(row.get("answer"))) or _one(row.get("answer", "")),
            options=tuple(options),
            text="" if _API_FAILURE in text else text,
            heard=next((row[name] for name in _HEARD if name in row), None),
            values=_scores(row),
            error=text if _API_FAILURE in text else "",
            fields=row,
        )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a sheet, also of one that was written as a JSON list."""
    if not is_list(path):
        yield from sheets.read(path, ("index", "prediction"))
        return
    for at, row in enumerate(stream(path), 1):
        if not {"index", "prediction"} <= mapping(row).keys():
            raise UsageError(f"{path} row {at} is {shown(row)}; index and prediction are wanted")
        yield at, {name: "" if cell is None else str(cell) for name, cell in row.items()}


def is_list(path: Path) -> bool:
    """Whether a file begins as a JSON list."""
    with open_data(path) as file:
        return file.read(64).removeprefix(BOM_UTF8).lstrip().startswith(b"[")


def _one(answer: str) -> tuple[str, ...]:
    return (answer,) if answer else ()


def _scores(row: Mapping[str, str]) -> dict[str, float]:
    found = {name: number(row[name]) for name in _VALUES if name in row}
    return {name: value for name, value in found.items() if value is not None}
