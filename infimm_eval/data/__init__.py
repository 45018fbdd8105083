"""Rows of a benchmark from a source that can be named again: demo, official files or the hub.

``open_source`` is the only door.  Nothing here knows what a row is asked for, and no connection is
opened unless ``hub`` is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from infimm_eval.data import hf_sets, parquet
from infimm_eval.data.pictures import require_pictures
from infimm_eval.data.reading import is_folder
from infimm_eval.errors import UsageError, named
from infimm_eval.types import Image, Row, Source

__all__ = ["Dataset", "open_source", "require_pictures"]

_HASHED = 1 << 30
"""Files up to this many bytes are known by their content, larger ones by name and size."""
_LISTED = 40
"""So many files are listed; of more (one a picture, say) only the sum is kept."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One split, found and ready to be read as often as wanted."""

    title: str
    read: Callable[[], Iterable[Row]]
    describe: Callable[[], Mapping[str, Any]]
    keep: Callable[[Row], bool] = lambda row: True

    def rows(self) -> Iterator[Row]:
        """Every row in the published order, from the start."""
        return filter(self.keep, self.read())

    def total(self, limit: int | None = None) -> int:
        """How many rows there are, or the first ``limit`` of them.

        Reads them once, and so finds before a run what is wrong with any of them: raises
        ``UsageError``, also one that names a few of the pictures that are missing.
        """
        count = 0

        def pictures() -> Iterator[Image]:
            nonlocal count
            for row in islice(self.rows(), limit):
                count += 1
                for cell in row.values():
                    for item in cell if isinstance(cell, list | tuple) else (cell,):
                        if isinstance(item, Image):
                            yield item

        require_pictures(pictures(), self.title)
        return count

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """What exactly was read, for the record of a run: ``kind`` (demo, files, hub,
        datasets) and the version, the files with size and SHA-256, the repository and its commit,
        or the set and its fingerprint."""
        return self.describe()


def open_source(
    source: Source, where: str | Path, revision: str | None = None, title: str = ""
) -> Dataset:
    """Find one split in ``demo``, on the ``hub`` or in a folder, without reading it.

    ``where`` may also be ``hf:ID[/CONFIG][@REVISION]``, a set that ``datasets`` opens, or a folder
    of ``save_to_disk``.  ``revision`` pins the hub's commit.  Raises ``UsageError`` that lists what
    is expected where.
    """
    return replace(_find(source, where, revision, title), keep=source.keep)


def _find(source: Source, where: str | Path, revision: str | None, title: str) -> Dataset:
    if where == "demo":
        if source.demo is None:
            raise UsageError(f"{title} has no demo rows; {_wanted(source)}")
        return Dataset(title=title, read=source.demo, describe=_demo_identity)
    if where == "hub":
        return _open_hub(source, revision, title)
    if str(where).startswith(hf_sets.PREFIX):
        return _of_set(hf_sets.load(str(where), source.hub, title), title)
    return _open_folder(source, Path(where).expanduser().absolute(), title)


def _demo_identity() -> Mapping[str, Any]:
    from infimm_eval.demo.scenes import VERSION

    return {"kind": "demo", "version": VERSION}


def _open_hub(source: Source, revision: str | None, title: str) -> Dataset:
    from infimm_eval.data import hub_download

    if source.hub is None:
        raise UsageError(f"{title} is not on the hub as Parquet; {_wanted(source)}")
    split = hub_download.fetch(source.hub, revision, title)
    return Dataset(title=title, read=partial(parquet.rows, split, title), describe=split.describe)


def _open_folder(source: Source, root: Path, title: str) -> Dataset:
    if not is_folder(root):
        raise UsageError(f"{title}: no data folder {named(str(root))}; {_wanted(source)}")
    missing = []
    for reader in source.files:
        try:
            files = reader.files(root)
        except FileNotFoundError as absent:
            missing.append(str(absent))
            continue
        return Dataset(
            title=title,
            read=partial(reader.rows, root),
            describe=partial(_files_identity, files, root),
        )
    split = parquet.find(root, source.hub, title) if source.hub else None
    if split is not None:
        return Dataset(
            title=title, read=partial(parquet.rows, split, title), describe=split.describe
        )
    if (found := hf_sets.saved(root, source.hub, title)) is not None:
        return _of_set(found, title)
    lacking = f"{root} lacks {' and '.join(dict.fromkeys(missing))}" if missing else str(root)
    raise UsageError(f"{title}: {lacking}; {_wanted(source)}")


def _of_set(split: hf_sets.ArrowSplit, title: str) -> Dataset:
    return Dataset(title=title, read=partial(split.rows, title), describe=split.describe)


def _files_identity(files: Iterable[Path], root: Path) -> Mapping[str, Any]:
    known = [_file(path, root) for path in files]
    if len(known) <= _LISTED:
        return {"kind": "files", "files": known}
    together = hashlib.sha256(repr(known).encode()).hexdigest()
    size = sum(file["size"] for file in known)
    return {"kind": "files", "count": len(known), "size": size, "sha256": together}


def _file(path: Path, root: Path) -> Mapping[str, Any]:
    size = path.stat().st_size
    known: dict[str, Any] = {"name": path.relative_to(root).as_posix(), "size": size}
    if size <= _HASHED:
        with path.open("rb") as file:
            known["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return known


def _wanted(source: Source) -> str:
    layouts = [" + ".join(reader.expects) for reader in source.files]
    if source.hub is not None:
        layouts.append(parquet.place(source.hub))
    return f"--data DIR should hold {'; or '.join(layouts)}" if layouts else "use --data demo"
