"""Sheets (xlsx, tsv, csv) in which every cell is text, read and written so that Excel opens them.

"None", "nan" and "1" are answers; an empty cell is an empty text.  Knows no benchmark's columns.
"""

from __future__ import annotations

import csv
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

from infimm_eval.data import tsv
from infimm_eval.data.pictures import BROKEN_ZIP, require_archive
from infimm_eval.data.reading import open_data
from infimm_eval.errors import UsageError, first_line, shown

LONGEST = 32_767
"""So many characters a cell of a spreadsheet holds."""
_ROWS = 1 << 20
"""So many rows a spreadsheet holds."""
_LARGEST = 1 << 28
"""No sheet unpacks to more bytes."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML, and so a spreadsheet, cannot hold."""


def clean(text: str) -> str:
    """A text as a cell can hold it."""
    return _UNPRINTABLE.sub("", text)[:LONGEST]


def write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Numbers as numbers, every text as a clean text ("=B" is an answer, not a formula)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cleaned = [
        [clean(cell) if isinstance(cell, str) else cell for cell in map(row.get, columns)]
        for row in rows
    ]
    if path.suffix == ".xlsx":
        _write_xlsx(path, [[*columns], *cleaned])
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([columns, *cleaned])


def _write_xlsx(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    with _openpyxl(path):
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    page = book.create_sheet("Sheet1")
    for row in rows:
        cells = [WriteOnlyCell(page, value=value) for value in row]
        for cell in cells:
            if isinstance(cell.value, str):
                cell.data_type = "s"
        page.append(cells)
    book.save(path)


def read(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows below the head, each with its number and all cells as text; ``UsageError`` names
    the first of the ``wanted`` columns that is not there."""
    rows = _rows(path)
    head = next(rows, [])
    for name in wanted:
        if name not in head:
            held = ", ".join(name[:60] for name in islice(filter(None, head), 20))
            raise UsageError(f"{path} has no column {name!r}; it has {held or 'none'}")
    if twice := next((name for name in head if name and head.count(name) > 1), ""):
        raise UsageError(f"{path} has two columns {shown(twice)}; one is wanted")
    for number, cells in enumerate(rows, 1):
        if len(cells) > len(head):
            raise UsageError(f"{path} row {number} has {len(cells)} cells, the head {len(head)}")
        if any(cells):
            padded = [*cells, *[""] * (len(head) - len(cells))]
            yield number, dict(zip(head, padded, strict=True))


def columns(path: Path) -> list[str]:
    """The head of a sheet."""
    return next(_rows(path), [])


def _rows(path: Path) -> Iterator[list[str]]:
    """An archive is a spreadsheet, whatever its name ends in."""
    if path.suffix in (".xlsx", ".xlsm") or _is_archive(path):
        return _xlsx(path)
    return _separated(path)


def _is_archive(path: Path) -> bool:
    with open_data(path) as file:
        return file.read(2) == b"PK"


def _separated(path: Path) -> Iterator[list[str]]:
    if path.suffix == ".xls":
        raise UsageError(f"{path} is a sheet of before 2007; save it as .xlsx or .tsv")
    separator = "," if path.suffix == ".csv" else "\t"
    return (record.cells for record in tsv.records(path, separator))


def _xlsx(path: Path) -> Iterator[list[str]]:
    require_archive(path, "no sheet that can be read")
    with zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > _LARGEST:
            raise UsageError(f"{path} unpacks to more than any sheet of results; is it damaged?")
    with _openpyxl(path):
        from openpyxl import load_workbook
    try:
        with open_data(path) as file, closing(_opened(load_workbook, file)) as book:
            page = book.worksheets[0]
            page.reset_dimensions()  # as the file declares them: every row would be made so wide
            # Rows left out are made up, however many the number of the next one says.
            for row in islice(page.iter_rows(values_only=True), _ROWS):
                cells = [_text(value) for value in row]
                while cells and not cells[-1]:
                    cells.pop()
                yield cells
    except (*BROKEN_ZIP, ParseError, LookupError, TypeError, AttributeError, MemoryError) as odd:
        raise UsageError(f"{path} is no sheet that can be read ({first_line(odd)})") from odd


def _opened(load_workbook: Callable[..., Any], file: BinaryIO) -> Any:
    with warnings.catch_warnings():  # of styles, dates and the like, which are no concern here
        warnings.simplefilter("ignore")
        return load_workbook(file, read_only=True, data_only=True)


def _text(value: object) -> str:
    """A cell as text; a spreadsheet makes 12.0 of 12."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)


@contextmanager
def _openpyxl(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{path}: xlsx takes the package openpyxl; pip install openpyxl, or use a .tsv"
        ) from error
