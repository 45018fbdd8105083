"""Pictures by reference: in a folder, or in an archive beside it.

Knows nothing of benchmarks and never decodes a pixel.  Every handle is a small value: it pickles,
compares and hashes by where the picture lies, and reads only when asked.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from infimm_eval.data.reading import POINTER
from infimm_eval.errors import UsageError
from infimm_eval.types import Image

_LISTED = 5


@dataclass(frozen=True, slots=True)
class FileImage(Image):
    """A file under the data folder."""

    root: str
    relative: str

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.relative

    @property
    def key(self) -> str:
        """Its name and what changes when it is replaced."""
        return f"{self.relative}:{os.stat(os.path.join(self.root, self.relative)).st_size}"

    def read(self) -> bytes:
        """The encoded file."""
        with open(os.path.join(self.root, self.relative), "rb") as file:
            data = file.read()
        if data.startswith(POINTER):
            raise OSError(f"{self.relative} is a Git LFS pointer; run `git lfs pull`")
        return data


@dataclass(frozen=True, slots=True)
class ZipImage(Image):
    """A member of an archive that was left packed (``val2014.zip``)."""

    archive: str
    member: str

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{os.path.basename(self.archive)}/{self.member}"

    @property
    def key(self) -> str:
        """Its name and what changes when it is replaced."""
        info = self._info()
        return f"{self.name}:{info.file_size}:{info.CRC:08x}"

    def read(self) -> bytes:
        """The encoded file."""
        try:
            return _archive(self.archive, os.getpid()).read(self._info())
        except zipfile.BadZipFile as broken:
            raise OSError(f"{self.name}: {broken}") from broken

    def _info(self) -> zipfile.ZipInfo:
        try:
            return _archive(self.archive, os.getpid()).getinfo(self.member)
        except KeyError:
            raise FileNotFoundError(f"no {self.member} in {self.archive}") from None


@dataclass(frozen=True, slots=True)
class Folder:
    """A place pictures come from: ``base/top/...`` unpacked, or ``base/top.zip``."""

    root: str
    """The data folder; what names are relative to."""
    directory: str | None
    archive: str | None
    top: str

    def image(self, relative: str) -> Image:
        """The picture ``relative`` to the folder; whether it is there is seen when it is used."""
        if self.directory is not None:
            return FileImage(self.root, f"{self.directory}/{relative}")
        assert self.archive is not None
        return ZipImage(self.archive, _member(self.archive, self.top, relative))


def folder(root: Path, top: str, near: Path | None = None, archive: str | None = None) -> Folder:
    """Find the picture folder ``top``, its ``.zip`` or an ``archive`` that holds it: beside the
    file ``near``, above it, or in another folder of ``root``.

    Where neither is there the folder is named all the same: text-only prompts need no picture,
    and ``require_pictures`` says what is missing before any other run.
    """
    places = _places(root, near.parent if near else root)
    for place in places:
        if (place / top).is_dir():
            return Folder(str(root), (place / top).relative_to(root).as_posix(), None, top)
        for name in (f"{top}.zip", archive):
            if name and (place / name).is_file():
                return Folder(str(root), None, str(place / name), top)
    return Folder(str(root), (places[0] / top).relative_to(root).as_posix(), None, top)


def require_pictures(images: Iterable[Image], title: str) -> None:
    """Raise one ``UsageError`` that names a few of the pictures that cannot be found."""
    missing: dict[str, None] = {}
    last = None
    for image in images:
        if image == last:
            continue  # Questions about one picture come in a row.
        last = image
        try:
            image.key  # noqa: B018 - looks the picture up without reading it
        except OSError:
            missing[image.name] = None
    if missing:
        few = ", ".join(islice(missing, _LISTED)) + (", ..." if len(missing) > _LISTED else "")
        raise UsageError(
            f"{title}: pictures missing from the data folder: {len(missing)} ({few}); "
            "unpack the picture archive there or put the .zip beside the annotations"
        )


def _places(root: Path, start: Path) -> list[Path]:
    """``start`` and the folders above it up to ``root``, then the other folders in ``root`` (COCO's
    pictures serve several benchmarks), each with its ``images`` folder."""
    above = [start, *(p for p in start.parents if p == root or root in p.parents)]
    beside = sorted(p for p in root.iterdir() if p.is_dir())
    return [place for folder in above + beside for place in (folder, folder / "images")]


@lru_cache(maxsize=16)
def _archive(path: str, _process: int) -> zipfile.ZipFile:
    # One handle a process: a forked child must not move its parent's file position.
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as broken:
        raise OSError(f"{path} is not a readable zip archive: {broken}") from broken


@lru_cache(maxsize=16)
def _prefix(archive: str, top: str) -> str:
    """COCO's archives hold ``val2014/x.jpg``, others ``mm-vet/images/x.png`` or just ``x.jpg``."""
    leaf = Path(top).name
    for name in _archive(archive, os.getpid()).namelist():
        at = f"/{name}".find(f"/{leaf}/")
        if at >= 0:
            return name[: at + len(leaf) + 1]
    return ""


def _member(archive: str, top: str, relative: str) -> str:
    return _prefix(archive, top) + relative
