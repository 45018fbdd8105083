"""Rows of Parquet shards in the hub's layout; pictures stay in the file until they are read.

Knows how shards are named and how pictures lie in them; knows nothing of benchmarks or the hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.types import Image, Row

_BATCH = 256


@dataclass(frozen=True, slots=True)
class ParquetImage(Image):
    """A picture in a cell ``{bytes, path}``, or in a cell that is a list of those."""

    path: str
    label: str
    """What a person calls the shard and row."""
    column: str
    group: int
    """Row group, and row inside it."""
    row: int
    item: int | None = None

    @property
    def name(self) -> str:
        number = "" if self.item is None else f"[{self.item}]"
        return f"{self.label}/{self.column}{number}"

    @property
    def key(self) -> str:
        return f"{self.name}:{os.stat(self.path).st_size}"

    def read(self) -> bytes:
        cell = _pictures(self.path, self.group, self.column, os.getpid())[self.row].as_py()
        if self.item is not None:
            cell = cell[self.item]
        data = cell["bytes"]
        if not isinstance(data, bytes):
            raise OSError(f"{self.name} holds only a path ({cell['path']}), not the picture")
        return data


def rows(shards: Sequence[Path], root: Path) -> Iterator[Row]:
    """Every row of the shards, in order; cells that hold pictures become ``Image``s."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in shards:
        try:
            file = pq.ParquetFile(shard)
        except (pa.ArrowInvalid, pa.ArrowException) as broken:
            raise UsageError(f"{shard} is not a Parquet file ({broken})") from broken
        label = shard.relative_to(root).as_posix()
        with file:
            yield from _rows(file, shard, label)


def shards(root: Path, repo: str, config: str | None, split: str) -> list[Path]:
    """The shards of one split under ``root/<owner>/<name>``, ``root/<name>`` or ``root`` itself,
    in order; empty where there are none.  Raises ``UsageError`` where some are missing."""
    name = repo.rpartition("/")[2]
    folders = [config] if config else ["data", "", "default"]
    for base in (root / repo, root / name, root):
        for folder in folders:
            for pattern in (f"{split}-*-of-*.parquet", f"{split}.parquet", f"{split}/*.parquet"):
                found = sorted((base / folder).glob(pattern))
                if found:
                    return _complete(found)
    return []


def _complete(found: list[Path]) -> list[Path]:
    numbered = re.search(r"-of-(\d+)", found[0].stem)
    if numbered and len(found) != int(numbered[1]):
        raise UsageError(
            f"{found[0].parent} holds {len(found)} of {int(numbered[1])} shards of "
            f"{found[0].name.split('-')[0]}; copy all of them"
        )
    return found


def _rows(file: Any, shard: Path, label: str) -> Iterator[Row]:
    leaves = [file.schema.column(i).path for i in range(len(file.schema))]
    pictures = {leaf.partition(".")[0] for leaf in leaves if _bytes_of_picture(leaf, leaves)}
    wanted = [leaf for leaf in leaves if not _bytes_of_picture(leaf, leaves)]
    place = 0
    for group in range(file.num_row_groups):
        inside = 0
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=wanted):
            for row in batch.to_pylist():
                for column in pictures:
                    origin = (str(shard), f"{label}#{place}", column, group, inside)
                    row[column] = _handles(row[column], origin)
                yield row
                place += 1
                inside += 1


def _handles(cell: Any, origin: tuple[str, str, str, int, int]) -> Any:
    if cell is None:
        return None
    if isinstance(cell, list):
        return [ParquetImage(*origin, item) for item in range(len(cell))]
    return ParquetImage(*origin)


def _bytes_of_picture(leaf: str, leaves: Sequence[str]) -> bool:
    """Whether a column is the heavy half of a picture; the other half tells where it is null."""
    return leaf.endswith(".bytes") and leaf.removesuffix("bytes") + "path" in leaves


@lru_cache(maxsize=4)
def _pictures(path: str, group: int, column: str, _process: int) -> Any:
    """One column of a row group (a hundred pictures, say): neighbours are asked for in a row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(group, columns=[column])[column]
    except pa.ArrowException as broken:
        raise OSError(f"{path} cannot be read: {broken}") from broken
