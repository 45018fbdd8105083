"""Rows of a benchmark from a source that can be named again: demo, official files or the hub.

``open_source`` is the only door.  Nothing here knows what a row is asked for, and no connection is
opened unless ``hub`` is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import infimm_eval
from infimm_eval.data import hub, parquet
from infimm_eval.data.pictures import require_pictures
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub, Image, Row, Source

__all__ = ["Dataset", "open_source", "require_pictures"]

_HASHED = 1 << 30
"""Files up to this many bytes are known by their content, larger ones by name and size."""
_LISTED = 40
"""So many files are listed; of more (MME has one a picture) only the sum is kept."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One split, found and ready to be read as often as wanted."""

    title: str
    read: Callable[[], Iterable[Row]]
    describe: Callable[[], Mapping[str, Any]]

    def rows(self) -> Iterator[Row]:
        """Every row in the published order, from the start."""
        return iter(self.read())

    def total(self, limit: int | None = None) -> int:
        """How many rows there are, or the first ``limit`` of them.

        Reads them once, and so finds before a run what is wrong with any of them: raises
        ``UsageError``, also one that names a few of the pictures that are missing.
        """
        count = 0
        pictures: set[Image] = set()
        for row in islice(self.rows(), limit):
            count += 1
            for cell in row.values():
                if isinstance(cell, Image):
                    pictures.add(cell)
                elif isinstance(cell, list):
                    pictures.update(item for item in cell if isinstance(item, Image))
        require_pictures(pictures, self.title)
        return count

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """What exactly was read, for the record of a run: ``kind`` (demo, files, hub) and the
        version, the files with size and SHA-256, or the repository and its commit."""
        return self.describe()


def open_source(
    source: Source, where: str | Path, revision: str | None = None, title: str = ""
) -> Dataset:
    """Find one split in ``demo``, on the ``hub`` or in a folder, without reading it.

    ``revision`` pins the hub's commit.  Raises ``UsageError`` that lists what is expected where.
    """
    if where == "demo":
        return Dataset(title=title, read=source.demo, describe=_demo_identity)
    if where == "hub":
        return _open_hub(source, revision, title)
    return _open_folder(source, Path(where).expanduser().absolute(), title)


def _demo_identity() -> Mapping[str, Any]:
    return {"kind": "demo", "version": infimm_eval.__version__}


def _open_hub(source: Source, revision: str | None, title: str) -> Dataset:
    if source.hub is None:
        raise UsageError(f"{title} is not on the hub; {_wanted(source)}")
    found = hub.fetch(source.hub, revision, title)
    return _parquet(
        source.hub,
        found.shards,
        found.root,
        title,
        {"kind": "hub", "repo": found.repo, "commit": found.commit},
    )


def _open_folder(source: Source, root: Path, title: str) -> Dataset:
    if not root.is_dir():
        raise UsageError(f"{title}: no data folder {root}; {_wanted(source)}")
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
    if source.hub is not None:
        for repo in source.hub.repos:
            shards = parquet.shards(root, repo, source.hub.config, source.hub.split)
            if shards:
                return _parquet(source.hub, shards, root, title, {"kind": "files"})
    lacking = f"{root} lacks {' and '.join(dict.fromkeys(missing))}" if missing else str(root)
    raise UsageError(f"{title}: {lacking}; {_wanted(source)}")


def _parquet(
    hub: Hub, shards: Iterable[Path], root: Path, title: str, known: Mapping[str, Any]
) -> Dataset:
    shards = tuple(shards)

    def read() -> Iterator[Row]:
        for number, row in enumerate(parquet.rows(shards, root)):
            try:
                converted = hub.convert(row)
            except (KeyError, TypeError, ValueError, SyntaxError) as odd:
                raise UsageError(
                    f"{title}: row {number} of {shards[0].name} is not as published "
                    f"({type(odd).__name__}: {odd}); is this {hub.repos[0]}?"
                ) from odd
            if converted is not None:
                yield converted

    def describe() -> Mapping[str, Any]:
        files = [{"name": s.relative_to(root).as_posix(), "size": s.stat().st_size} for s in shards]
        return {**known, "config": hub.config, "split": hub.split, "files": files}

    return Dataset(title=title, read=read, describe=describe)


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
    if size <= _HASHED and path.is_file():
        with path.open("rb") as file:
            known["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return known


def _wanted(source: Source) -> str:
    layouts = [" + ".join(reader.expects) for reader in source.files]
    if source.hub is not None:
        place = f"{source.hub.config or 'data'}/{source.hub.split}-*.parquet"
        layouts.append(f"{source.hub.repos[-1].rpartition('/')[2]}/{place}")
    return f"--data DIR should hold {'; or '.join(layouts)}" if layouts else "use --data demo"
