"""Whatever the ``datasets`` library opens, as a benchmark's rows: a set by its name, or a folder of
``save_to_disk``.

The library finds, downloads and prepares a set; rows are read from its Arrow files, and pictures
stay there, encoded, until they are read.  Knows no benchmark: which split is read and what becomes
of its columns says a ``Hub``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from infimm_eval.data import parquet
from infimm_eval.data.reading import open_data
from infimm_eval.errors import UsageError, first_line, named
from infimm_eval.types import Hub, Row

PREFIX = "hf:"
_BATCH = 256


@dataclass(frozen=True, slots=True)
class ArrowImage(parquet.CellImage):
    """One of an Arrow file."""

    beside: str = ""
    """Where files may lie that a cell only names: the folder that was given, or the hub's cache."""

    def read(self) -> bytes:
        """The encoded file."""
        cell = _table(self.path, os.getpid()).column(self.column)[self.row].as_py()
        if self.item is not None:
            cell = cell[self.item]
        if isinstance(data := cell["bytes"], bytes):
            return data
        file = Path(str(cell["path"])).resolve()
        if not self.beside or not file.is_relative_to(Path(self.beside).resolve()):
            raise OSError(f"{self.name} names {named(str(file))}, which is no part of the set")
        with open_data(file) as opened:
            return opened.read()


@dataclass(frozen=True, slots=True)
class ArrowSplit:
    """One split of a set: its Arrow files on this machine, and what it is."""

    hub: Hub
    label: str
    files: tuple[str, ...]
    origin: Mapping[str, Any]
    beside: str
    """As an ``ArrowImage`` has it."""

    def describe(self) -> Mapping[str, Any]:
        """What was read, for the record of a run."""
        return self.origin

    def rows(self, title: str) -> Iterator[Row]:
        """The converted rows.  ``UsageError`` names the one that is not as it should be."""
        numbered = ({"row": n, **row} for n, row in enumerate(self._read()))
        where = f"{title}: {self.label},"
        return parquet.converted(numbered, self.hub.convert, where, self.hub.repos[-1])

    def _read(self) -> Iterator[dict[str, Any]]:
        number = 0
        for path in self.files:
            table = _table(path, os.getpid())
            pictures = [f.name for f in table.schema if _is_picture(f.type)]
            light = table.drop_columns(pictures)
            counts = {name: _counts(table.column(name)) for name in pictures}
            inside = 0
            for batch in light.to_batches(max_chunksize=_BATCH):
                for row in batch.to_pylist():
                    for name, count in counts.items():
                        label = f"{self.label}#{number}"
                        one = ArrowImage(path, label, name, inside, beside=self.beside)
                        row[name] = _images(one, count[inside])
                    yield row
                    number += 1
                    inside += 1


def _images(one: ArrowImage, count: int | None) -> ArrowImage | list[ArrowImage] | None:
    """-1 is a picture of its own, ``None`` none, another number so many in a list."""
    if count is None:
        return None
    return one if count < 0 else [replace(one, item=item) for item in range(count)]


def _counts(column: Any) -> list[int | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type):
        return [-1 if there else None for there in column.is_valid().to_pylist()]
    lengths: list[int | None] = pc.list_value_length(column).to_pylist()
    return lengths


def _is_picture(kind: Any) -> bool:
    """How ``datasets`` stores ``Image`` and lists of it."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"}


@lru_cache(maxsize=16)
def _table(path: str, _process: int) -> Any:
    """An Arrow file, mapped and not loaded."""
    import pyarrow as pa

    open_data(Path(path)).close()
    try:
        return pa.ipc.open_stream(pa.memory_map(path)).read_all()
    except (pa.ArrowException, OSError) as broken:
        raise UsageError(
            f"{path} is no Arrow file that can be read ({first_line(broken)}); save the set anew"
        ) from broken


# ---- opening


def load(place: str, hub: Hub | None, title: str) -> ArrowSplit:
    """``hf:ID[/CONFIG][@REVISION]``, ID being OWNER/NAME on the hub or a local folder that
    ``load_dataset`` opens (``hf:./folder``).

    Of the split that ``hub`` names, in its columns.  ``UsageError`` where there is no such set or
    split, or the benchmark says nothing of columns.
    """
    id, config, revision = _parsed(place)
    hub = _required(hub, title)
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        found = datasets.load_dataset(id, config or hub.config, split=hub.split, revision=revision)
    except Exception as odd:
        raise UsageError(
            f"{title}: {place} cannot be opened by datasets ({first_line(odd)}); its split "
            f"{hub.split!r} is wanted"
        ) from odd
    local = Path(id).is_dir()
    origin = {"id": Path(id).name if local else id, "config": config or hub.config}
    beside = id if local else HF_HUB_CACHE
    return _split(found, hub, {**origin, "revision": revision}, title, beside)


def saved(root: Path, hub: Hub | None, title: str) -> ArrowSplit | None:
    """A folder of ``save_to_disk``, or one inside ``root`` under the set's name; ``None``: there is
    none."""
    names = [repo.rpartition("/")[2] for repo in hub.repos] if hub else []
    for folder in (root, *(root / name for name in names)):
        if any((folder / mark).is_file() for mark in ("dataset_dict.json", "state.json")):
            return _saved(folder, _required(hub, title), title)
    return None


def _saved(folder: Path, hub: Hub, title: str) -> ArrowSplit:
    import datasets

    try:
        found = datasets.load_from_disk(folder)
    except Exception as odd:
        raise UsageError(f"{title}: {folder} is damaged ({first_line(odd)}); save it anew") from odd
    held = found if isinstance(found, dict) else {str(found.split or hub.split): found}
    if hub.split not in held:
        raise UsageError(f"{title}: {folder} has no split {hub.split!r}, but {', '.join(held)}")
    return _split(held[hub.split], hub, {"id": folder.name}, title)


def _split(
    found: Any, hub: Hub, origin: Mapping[str, Any], title: str, beside: str = ""
) -> ArrowSplit:
    label = str(origin["id"])
    files = tuple(file["filename"] for file in found.cache_files)
    if not files and len(found):
        raise UsageError(f"{title}: {label} lies in memory; save it with save_to_disk")
    known = {"kind": "datasets", **origin, "split": hub.split, "rows": len(found)}
    known["fingerprint"] = found._fingerprint
    return ArrowSplit(hub, label, files, known, beside)


def _required(hub: Hub | None, title: str) -> Hub:
    if hub is None:
        raise UsageError(
            f"{title} says nothing of the split and columns of a set; give its Source a "
            "hub=Hub(repos=(ID,), split=..., convert=...)"
        )
    return hub


def _parsed(place: str) -> tuple[str, str | None, str | None]:
    name, _, revision = place.removeprefix(PREFIX).partition("@")
    parts = name.split("/")
    if name.startswith((".", "/", "~")):
        return str(Path(name).expanduser()), None, revision or None
    if not all(parts) or not 2 <= len(parts) <= 3:
        raise UsageError(f"{place!r} is no set; write hf:OWNER/NAME[/CONFIG][@REVISION]")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, revision or None
