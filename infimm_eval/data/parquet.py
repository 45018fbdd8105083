"""Rows of Parquet shards in the hub's layout; pictures stay in the file until they are read.

Knows how shards are named and how pictures lie in them; knows nothing of benchmarks, and opens no
connection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import Line, open_data
from infimm_eval.errors import UsageError, first_line
from infimm_eval.types import Hub, Image, Row

_BATCH = 256


@dataclass(frozen=True, slots=True)
class CellImage(Image):
    """A picture in a cell ``{bytes, path}`` of a file, or in a cell that is a list of those."""

    path: str
    label: str
    """What a person calls the file and row."""
    column: str
    row: int
    """Inside its file, or that part of it which is read at once."""
    item: int | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        number = "" if self.item is None else f"[{self.item}]"
        return f"{self.label}/{self.column}{number}"

    @property
    def key(self) -> str:
        """Its name and what changes when it is replaced."""
        return f"{self.name}:{os.stat(self.path).st_size}"


@dataclass(frozen=True, slots=True)
class ParquetImage(CellImage):
    """One of a Parquet shard, whose ``row`` counts inside its row ``group``."""

    group: int = 0

    def read(self) -> bytes:
        """The encoded file."""
        try:
            cell = _pictures(self.path, self.group, self.column, os.getpid())[self.row].as_py()
            if self.item is not None:
                cell = cell[self.item]
            data = cell["bytes"]
        except _damaged() as odd:
            raise OSError(f"{self.name} cannot be read: {first_line(odd)}") from odd
        if not isinstance(data, bytes):
            raise OSError(f"{self.name} holds only a path ({cell['path']}), not the picture")
        return data


@dataclass(frozen=True, slots=True)
class Split:
    """The shards of one split on this machine, and what they are."""

    hub: Hub
    root: Path
    shards: tuple[Path, ...]
    origin: Mapping[str, Any] = field(default_factory=lambda: {"kind": "files"})
    """Where they come from, for the record of a run."""
    pictures: Split | None = None

    def describe(self) -> Mapping[str, Any]:
        """What was read, for the record of a run."""
        files = [
            {"name": shard.relative_to(self.root).as_posix(), "size": shard.stat().st_size}
            for shard in self.shards
        ]
        known = {**self.origin, "config": self.hub.config, "split": self.hub.split, "files": files}
        return known | ({"pictures": self.pictures.describe()} if self.pictures else {})


def rows(split: Split, title: str) -> Iterator[Row]:
    """The converted rows of a split, with their pictures from another where it has none.

    Raises ``UsageError`` where a row is not as the dataset was published.
    """
    if split.pictures is None:
        yield from _converted(split, title)
        return
    named = {row["filename"]: row["image"] for row in _converted(split.pictures, title)}
    for row in _converted(split, title):
        if row["filename"] not in named:
            raise UsageError(
                f"{title}: {split.pictures.shards[0].parent} has no picture {row['filename']}"
            )
        yield {**row, "image": named[row["filename"]]}


def find(root: Path, hub: Hub, title: str) -> Split | None:
    """A split downloaded to ``root/<owner>/<name>``, ``root/<name>`` or ``root`` itself.

    ``None`` where there is none.  Raises ``UsageError`` where only some shards are there.
    """
    for repo in hub.repos:
        for base in (root / repo, root / repo.rpartition("/")[2], root):
            found = _shards(base, hub)
            if not found:
                continue
            pictures = find(root, hub.pictures, title) if hub.pictures else None
            if hub.pictures and pictures is None:
                raise UsageError(f"{title}: {root} lacks the pictures, {place(hub.pictures)}")
            return Split(hub, root, tuple(found), pictures=pictures)
    return None


def place(hub: Hub) -> str:
    """Where ``find`` looks for a split, for messages."""
    name = hub.repos[-1].rpartition("/")[2]
    return f"{name}/{hub.config or 'data'}/{hub.split}-*.parquet"


def _shards(base: Path, hub: Hub) -> list[Path]:
    for folder in [hub.config] if hub.config else ["data", "", "default"]:
        for pattern in (f"{hub.split}-*-of-*.parquet", f"{hub.split}.parquet"):
            found = sorted((base / folder).glob(pattern))
            if found:
                return _complete(found)
        found = sorted((base / folder / hub.split).glob("*.parquet"))
        if found:
            return found
    return []


def _complete(found: list[Path]) -> list[Path]:
    numbered = re.search(r"-of-(\d+)", found[0].stem)
    if numbered and len(found) != int(numbered[1]):
        raise UsageError(
            f"{found[0].parent} holds {len(found)} of the {int(numbered[1])} shards of "
            f"{found[0].name.split('-')[0]}; put all of them there, and no others"
        )
    return found


def _converted(split: Split, title: str) -> Iterator[Row]:
    numbered = ({"row": n, **row} for n, row in enumerate(read(split.shards, split.root)))
    first, *more = split.shards
    where = f"{title}: {first.parent}, of {1 + len(more)} shards," if more else f"{title}: {first}"
    return converted(numbered, split.hub.convert, where, split.hub.repos[-1])


def converted(
    rows: Iterable[Row], convert: Callable[[Row], Row | None], where: str, wanted: str
) -> Iterator[Row]:
    """Rows in the columns that official files yield, each knowing its number ``where``.

    ``UsageError`` names the one that is not as ``wanted`` was published.
    """
    for number, row in enumerate(rows):
        try:
            made = convert(row)
        except (LookupError, TypeError, ValueError, AttributeError) as odd:
            raise UsageError(
                f"{where} row {number} is not as published "
                f"({type(odd).__name__}: {first_line(odd)}); is it {wanted}?"
            ) from odd
        if made is not None:
            yield Line(made, f"{where} row {number}")


def read(shards: Sequence[Path], root: Path) -> Iterator[dict[str, Any]]:
    """Every row of the shards as published, in order; cells that hold pictures are ``Image``s."""
    import pyarrow.parquet as pq

    for shard in shards:
        open_data(shard).close()
        try:
            with pq.ParquetFile(shard) as file:
                yield from _rows(file, shard, shard.relative_to(root).as_posix())
        except _damaged() as broken:
            raise UsageError(
                f"{shard} is not a Parquet file that can be read ({first_line(broken)}); "
                "download it again"
            ) from broken


def _damaged() -> tuple[type[BaseException], ...]:
    """What arrow raises over a file that is damaged."""
    import pyarrow as pa

    return (
        pa.ArrowException,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        MemoryError,
        OverflowError,
    )


def _rows(file: Any, shard: Path, label: str) -> Iterator[dict[str, Any]]:
    leaves = [file.schema.column(i).path for i in range(len(file.schema))]
    heavy = {leaf for leaf in leaves if _bytes_of_picture(leaf, leaves)}
    pictures = {leaf.partition(".")[0] for leaf in heavy}
    light = [leaf for leaf in leaves if leaf not in heavy]
    number = 0
    for group in range(file.num_row_groups):
        inside = 0
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=light):
            for row in batch.to_pylist():
                for column in pictures:
                    cell = row[column]
                    origin = (str(shard), f"{label}#{number}", column, inside)
                    if isinstance(cell, list):
                        row[column] = [
                            ParquetImage(*origin, item, group) for item in range(len(cell))
                        ]
                    elif cell is not None:
                        row[column] = ParquetImage(*origin, group=group)
                yield row
                number += 1
                inside += 1


def _bytes_of_picture(leaf: str, leaves: Sequence[str]) -> bool:
    """Whether a column is the heavy half of a picture; the other half tells where it is null."""
    return leaf.endswith(".bytes") and leaf.removesuffix("bytes") + "path" in leaves


@lru_cache(maxsize=4)
def _pictures(path: str, group: int, column: str, _process: int) -> Any:
    """One column of a row group (a hundred pictures, say): neighbours are asked for in a row."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column])[column]
