"""TSVs with pictures inside, as VLMEvalKit distributes benchmarks; every cell stays text.

"None", "nan", "NA" and "1" are answers.  An empty cell is an absent one and is left out of the
row.  Knows nothing of benchmarks; pictures are decoded when they are read.
"""

from __future__ import annotations

import ast
import base64
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from infimm_eval.data.pictures import folder, require_picture
from infimm_eval.data.reading import Line, Unique, open_data
from infimm_eval.errors import UsageError, shown
from infimm_eval.types import Image

_REFERENCE = 64
"""No picture is this short: the cell is the index of the row that holds it."""
_LONGEST = 1 << 28
"""No cell is longer: one that is lacks its closing quote, and would hold the rest of the file."""
_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
_DAMAGED = (ValueError, IndexError, SyntaxError, RecursionError, MemoryError, csv.Error)
"""What a cell raises that is not what it was, or no list of texts."""


@dataclass(frozen=True, slots=True)
class TsvImage(Image):
    """A base64 cell of a TSV.  The record is found again by its place in the file."""

    path: str
    label: str
    """What the row calls it: its index, with the number of the picture where there are several."""
    offset: int
    length: int
    column: int
    item: int | None = None
    """Which element, where the cell is a list of pictures."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{Path(self.path).name}#{self.label}"

    @property
    def key(self) -> str:
        """Its name and what changes when it is replaced."""
        return f"{self.name}:{self.offset}+{self.length}:{Path(self.path).stat().st_size}"

    def look(self) -> None:
        """Raise ``OSError`` for what no model could read, as far as its first bytes tell."""
        require_picture(self.read()[:_REFERENCE], self.name)

    def read(self) -> bytes:
        """The encoded file."""
        try:
            text = _cell(self.path, self.offset, self.length, self.column, self.item)
            return base64.b64decode(_DATA_URI.sub("", text, count=1), validate=True)
        except _DAMAGED as broken:
            raise OSError(f"{self.name} is not a base64 picture: {broken}") from broken


@dataclass(frozen=True, slots=True)
class _Record:
    offset: int
    length: int
    cells: list[str]


def rows(path: Path, root: Path, pictures: str = "images") -> Iterator[dict[str, Any]]:
    """Rows as ``{column: text}``, with ``images``: a list of ``Image``s.

    A picture is base64 in the column ``image`` (or a Python list of several), a reference there
    to the row with that index, or a file named by ``image_path`` in the folder ``pictures``.
    Yields after one pass over the file, since a reference may point ahead.
    """
    header: list[str] | None = None
    kept: list[dict[str, Any]] = []
    holders: dict[str, list[Image]] = {}
    unique = Unique(path, "index")
    for record in records(path):
        if header is None:
            header = record.cells
            _check_header(header, path)
            continue
        if len(record.cells) != len(header):
            raise UsageError(
                f"{path} row {len(kept) + 1} has {len(record.cells)} cells, the head {len(header)}"
            )
        row: dict[str, Any] = {n: c for n, c in zip(header, record.cells, strict=True) if c != ""}
        index = row.get("index", "")
        if not index:
            raise UsageError(f"{path} row {len(kept) + 1} has no index")
        unique(index)
        cell = row.pop("image", "")
        if len(cell) > _REFERENCE:
            holders[index] = _pictures(path, index, record, header.index("image"), cell)
        elif cell:
            row["image"] = cell
        kept.append(row)
    for row in kept:
        row["images"] = _images(row, holders, path, root, pictures)
        yield Line(row, f"{path} row {row['index']}")


def whole_number(text: str, where: str) -> int:
    """An index; spreadsheets make ``12.0`` of ``12``."""
    if not _WHOLE.fullmatch(text):
        raise UsageError(f"{where}: index {shown(text)} is not a whole number")
    return int(text.partition(".")[0])


_WHOLE = re.compile(r"[0-9]{1,15}(\.0*)?")


def _check_header(header: list[str], path: Path) -> None:
    if "index" not in header:
        raise UsageError(f"{path} has no column 'index'; is it a VLMEvalKit TSV?")
    named = [name for name in header if name]
    if twice := next((name for name in named if named.count(name) > 1), ""):
        raise UsageError(f"{path} has two columns {shown(twice)}; one is wanted")


def _cell(path: str, offset: int, length: int, column: int, item: int | None) -> str:
    """One cell of the record that starts ``offset`` bytes into the file."""
    with Path(path).open("rb") as file:
        file.seek(offset)
        record = file.read(length).decode("utf-8")
    _allow_long_cells()
    text = next(csv.reader([record], delimiter="\t"), [])[column]
    return text if item is None else str(ast.literal_eval(text)[item])


def records(path: Path, separator: str = "\t") -> Iterator[_Record]:
    """The records of a TSV (or CSV) with where each lies, head first."""
    with open_data(path) as file:
        yield from _records(file, path, separator)


def _records(file: BinaryIO, path: Path, separator: str) -> Iterator[_Record]:
    position = 0

    def lines() -> Iterator[str]:
        # Only LF ends a line: U+2028 and the like may stand inside a cell.
        nonlocal position
        for line in file:
            text = line.decode("utf-8-sig" if position == 0 else "utf-8")
            position += len(line)
            yield text

    _allow_long_cells()
    parsed = csv.reader(lines(), delimiter=separator)
    number = 0
    while True:
        start = position
        try:
            cells = next(parsed)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as broken:
            raise UsageError(f"{path} row {number} is not tab-separated text: {broken}") from broken
        if cells:
            yield _Record(start, position - start, cells)
            number += 1


def _pictures(path: Path, index: str, record: _Record, column: int, text: str) -> list[Image]:
    place = (record.offset, record.length, column)
    if not text.startswith("["):
        return [TsvImage(str(path), index, *place)]
    count = len(_literal(text, path, index))
    return [TsvImage(str(path), f"{index}[{item}]", *place, item) for item in range(count)]


def _images(
    row: dict[str, Any], holders: dict[str, list[Image]], path: Path, root: Path, pictures: str
) -> list[Image]:
    index = row["index"]
    reference = row.pop("image", None)
    if index in holders:
        return holders[index]
    if reference is not None:
        try:
            return holders[reference]
        except KeyError:
            raise UsageError(
                f"{path}: row {index} refers to the picture of row {reference}, which has none"
            ) from None
    if "image_path" in row:
        named = row["image_path"]
        names = _literal(named, path, index) if named.startswith("[") else [named]
        place = folder(root, pictures, near=path)
        return [place.image(name, index) for name in names]
    return []


def _literal(text: str, path: Path, index: str) -> Sequence[str]:
    try:
        value = ast.literal_eval(text)
    except _DAMAGED as odd:
        raise UsageError(f"{path}: the pictures of row {index} are not a list: {odd}") from odd
    return [str(item) for item in value]


def _allow_long_cells() -> None:
    if csv.field_size_limit() < _LONGEST:
        csv.field_size_limit(_LONGEST)
