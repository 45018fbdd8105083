"""MMBench's upload sheet: every rotated row with its prediction, as xlsx or tsv.

Reads anybody's sheet and the benchmark's own TSV.  Knows nothing of how letters are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data import choices
from infimm_eval.submissions import sheets
from infimm_eval.submissions.files import integer, once
from infimm_eval.types import Content, Record, Sample, Submission

from .files import base, incomplete
from .files import integer as whole

_COLUMNS = ("index", "question", *"ABCD", "prediction", "answer", "split")


def sheet(filename: str) -> Submission:
    """The sheet under a name that ends in ``.xlsx``, or ``.tsv`` for text."""
    return Submission(
        filename=filename,
        write=write,
        read=read,
        references=references,
        missing="wrong",
        carries_answers=lambda path: path.is_file() and _has_answers(path),
        incomplete=lambda samples: incomplete({int(s.id): len(s.options) for s in samples}),
        remarks=remarks,
    )


def write(records: Sequence[Record], path: Path) -> None:
    """Columns ``index question A B C D prediction answer split``, original indices kept."""
    sheets.write(path, _COLUMNS, [_row(record) for record in records])


def remarks(records: Sequence[Record]) -> Iterator[str]:
    """How many answers a cell of a spreadsheet is too short for."""
    if cut := sum(len(record.text) > sheets.LONGEST for record in records):
        yield (
            f"{cut} answers of more than {sheets.LONGEST:,} characters are cut there, as Excel's "
            "cells hold no more"
        )


def read(path: Path) -> Mapping[str, str]:
    """Every row's prediction by its index."""
    found: dict[str, str] = {}
    for number, row in sheets.read(path, ("index", "prediction")):
        index = str(whole(row["index"], f"{path} row {number}"))
        once(path, found, index, row["prediction"])
    return found


def references(path: Path) -> Iterator[Sample]:
    """Questions with their options and right letters, from a sheet or from the benchmark's TSV."""
    for number, row in sheets.read(path, ("index", "answer")):
        index = str(whole(row["index"], f"{path} row {number}"))
        where = f"{path} row {index}"
        options = choices.options(row, where)
        if row["answer"]:
            choices.require_letter(row["answer"], options, where)
        category = {key: row[key] for key in ("category", "l2-category") if row.get(key)}
        yield Sample(
            id=index,
            question=(row.get("question", ""),),
            references=(row["answer"],) if row["answer"] else (),
            options=tuple((option,) for option in options),
            group=base(index),
            tags=category | {"question": base(index), "rotations": str(len(options))},
        )


def _has_answers(path: Path) -> bool:
    return any(row.get("answer") for _, row in sheets.read(path, ("index",)))


def _row(record: Record) -> dict[str, Any]:
    sample = record.sample
    options = dict(zip(ascii_uppercase, map(_text, sample.options), strict=False))
    return {
        "index": integer(sample.id, "MMBench"),
        "question": _text(sample.question),
        **{letter: options.get(letter, "") for letter in "ABCD"},
        "prediction": record.text,
        "answer": sample.references[0] if sample.references else "",
        "split": sample.tags.get("split", ""),
    }


def _text(content: Content) -> str:
    return "".join(part for part in content if isinstance(part, str))
