"""MMBench's upload sheet: every rotated row with its prediction, as xlsx or tsv.

Reads anybody's sheet and the benchmark's own TSV.  Knows nothing of how letters are read.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.submissions.files import integer, once
from infimm_eval.types import Content, Record, Sample, Submission

from .files import base
from .files import integer as whole

_LETTERS = "ABCDEF"


def sheet(filename: str) -> Submission:
    """The sheet under a name that ends in ``.xlsx``, or ``.tsv`` for text."""
    return Submission(
        filename=filename, write=write, read=read, references=references, missing="wrong"
    )


_UNPRINTABLE = dict.fromkeys([*range(9), 11, 12, *range(14, 32)])
"""Control characters that a spreadsheet cannot hold."""


def write(records: Sequence[Record], path: Path) -> None:
    """Columns ``index question A B C D prediction answer split``, original indices kept."""
    import pandas as pd

    frame = pd.DataFrame([_row(record) for record in records])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".xlsx":
        with _openpyxl(path), pd.ExcelWriter(path, engine="openpyxl") as book:
            frame.to_excel(book, index=False)
            for cell in (c for row in book.sheets["Sheet1"].iter_rows() for c in row):
                if isinstance(cell.value, str):
                    cell.data_type = "s"  # "=B" is an answer, not a formula
    else:
        frame.to_csv(path, sep="\t", index=False)


def read(path: Path) -> Mapping[str, str]:
    """Every row's prediction by its index."""
    found: dict[str, str] = {}
    for row in _rows(path, ("index", "prediction")):
        once(path, found, row["index"], row["prediction"])
    return found


def references(path: Path) -> Iterator[Sample]:
    """Questions with their options and right letters, from a sheet or from the benchmark's TSV."""
    for row in _rows(path, ("index", "answer")):
        options = [row[letter] for letter in _LETTERS if row.get(letter)]
        category = {"category": row.get("category", ""), "l2-category": row.get("l2-category", "")}
        yield Sample(
            id=row["index"],
            question=(row.get("question", ""),),
            references=(row["answer"],) if row["answer"] else (),
            options=tuple((option,) for option in options),
            group=base(row["index"]),
            tags={key: value for key, value in category.items() if value}
            | {"question": base(row["index"])},
        )


def _row(record: Record) -> dict[str, Any]:
    sample = record.sample
    options = dict(zip(ascii_uppercase, map(_text, sample.options), strict=False))
    return {
        "index": integer(sample.id, "MMBench"),
        "question": _text(sample.question),
        **{letter: options.get(letter, "") for letter in "ABCD"},
        "prediction": record.text.translate(_UNPRINTABLE),
        "answer": sample.references[0] if sample.references else "",
        "split": sample.tags.get("split", ""),
    }


def _rows(path: Path, wanted: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows with every cell as text: "None", "nan" and "1" are answers, empty cells are empty."""
    import pandas as pd

    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    as_text: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_filter": False}
    try:
        if path.suffix in (".xlsx", ".xls"):
            with _openpyxl(path):
                frame = pd.read_excel(path, **as_text)
        else:
            separator = "," if path.suffix == ".csv" else "\t"
            frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", **as_text)
    except (ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is no sheet that can be read ({error})") from error
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        held = ", ".join(map(str, frame.columns))
        raise UsageError(f"{path} has no column {missing[0]!r}; it has {held}")
    for row in frame.to_dict("records"):
        cells = {str(name): str(value) for name, value in row.items()}
        yield {**cells, "index": str(whole(cells["index"], path))}


@contextmanager
def _openpyxl(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{path}: xlsx takes the package openpyxl; pip install openpyxl, or use a .tsv"
        ) from error


def _text(content: Content) -> str:
    return "".join(part for part in content if isinstance(part, str))
