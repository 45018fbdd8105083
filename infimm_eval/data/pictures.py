"""Pictures by reference: in a folder, or in an archive beside it.

A name stays inside its folder, and only a regular file is ever opened.  Knows nothing of benchmarks
and never decodes a pixel.  Every handle is a small value: it pickles, compares and hashes by where
the picture lies, and reads only when asked.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from infimm_eval.data.reading import POINTER, open_data
from infimm_eval.errors import UsageError, shown
from infimm_eval.types import Image

_LISTED = 5
_HEAD = 64
"""So many bytes tell what is no picture."""
_LARGEST = 1 << 28
"""No picture has more bytes: an archive's member that claims to would fill the memory."""


@dataclass(frozen=True, slots=True)
class FileImage(Image):
    """A file under the data folder."""

    root: str
    relative: str
    inside: str = ""
    """The folder under ``root`` that no link may lead out of."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.relative

    @property
    def key(self) -> str:
        """Its name and what changes when it is replaced."""
        return f"{self.relative}:{self._size()}"

    def look(self) -> None:
        """Raise ``OSError`` for what no model could read, as far as its first bytes tell."""
        self._size()
        with open(self._path, "rb") as file:
            require_picture(file.read(_HEAD), self.name)

    def read(self) -> bytes:
        """The encoded file."""
        if self._size() > _LARGEST:
            raise OSError(f"{self.relative} is too large for a picture")
        with open(self._path, "rb") as file:
            data = file.read()
        require_picture(data[:_HEAD], self.name)
        return data

    @property
    def _path(self) -> str:
        return os.path.join(self.root, self.relative)

    def _size(self) -> int:
        found = os.stat(self._path)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{self.relative} is no regular file")
        if _leads_out(self._path, os.path.join(self.root, self.inside)):
            raise OSError(f"{self.relative} is a link that leads out of the data folder")
        return found.st_size


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

    def look(self) -> None:
        """Raise ``OSError`` for what no model could read, as far as the archive's list tells."""
        info = self._info()
        if not info.file_size:
            raise OSError(f"{self.name} is empty")
        if info.flag_bits & _ENCRYPTED:
            raise OSError(f"{self.name} is encrypted")
        if info.file_size > _LARGEST:
            raise OSError(f"{self.name} is too large for a picture")

    def read(self) -> bytes:
        """The encoded file."""
        self.look()
        try:
            return _archive(self.archive, os.getpid()).read(self._info())
        except BROKEN_ZIP as broken:
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
    named_by: str
    """The file whose rows name the pictures, for messages."""

    def image(self, relative: str, record: int | str = "") -> Image:
        """The picture ``relative`` to the folder; whether it is there is seen when it is used.

        ``UsageError`` names the ``record`` whose name for it leaves the folder, or is none.
        """
        if fault := _fault(relative):
            where = f"{self.named_by} record {record}" if record != "" else self.named_by
            raise UsageError(f"{where}: {shown(relative)} is no name of a picture: {fault}")
        if self.directory is not None:
            return FileImage(self.root, f"{self.directory}/{relative}", self.directory)
        assert self.archive is not None
        return ZipImage(self.archive, _prefix(self.archive, self.top) + relative)


def folder(root: Path, top: str, near: Path | None = None, archive: str | None = None) -> Folder:
    """Find the picture folder ``top``, its ``.zip`` or an ``archive`` that holds it: beside the
    file ``near``, above it, or in another folder of ``root``.

    Where neither is there the folder is named all the same: text-only prompts need no picture,
    and ``require_pictures`` says what is missing before any other run.
    """
    named_by = str(near or root)
    if fault := _fault(top):
        raise UsageError(f"{named_by}: {shown(top)} is no name of a picture folder: {fault}")
    places = _places(root, near.parent if near else root)
    for place in places:
        if (place / top).is_dir():
            found = (place / top).relative_to(root).as_posix()
            return Folder(str(root), found, None, top, named_by)
        for name in (f"{top}.zip", archive):
            if name and (place / name).exists():
                require_archive(place / name)
                return Folder(str(root), None, str(place / name), top, named_by)
    return Folder(str(root), (places[0] / top).relative_to(root).as_posix(), None, top, named_by)


def require_archive(path: Path, what: str = "not a readable zip archive") -> None:
    """``UsageError`` says ``what`` a file is that is no zip archive which can be opened."""
    with open_data(path) as file:
        try:
            zipfile.ZipFile(file).close()
        except BROKEN_ZIP as broken:
            raise UsageError(f"{path} is {what} ({broken})") from broken


def require_pictures(images: Iterable[Image], title: str) -> None:
    """Raise one ``UsageError`` that names a few of the pictures that cannot be found, or that no
    model could read, as far as that is seen without reading them whole."""
    missing: dict[str, None] = {}
    unreadable: dict[str, None] = {}
    last = None
    for image in images:
        if image == last:
            continue  # Questions about one picture come in a row.
        last = image
        try:
            image.key  # noqa: B018 - looks the picture up without reading it
            if look := getattr(image, "look", None):  # its first bytes, where they cost nothing
                look()
        except FileNotFoundError:
            missing[image.name] = None
        except OSError as odd:
            unreadable[f"{image.name}: {odd.strerror}" if odd.strerror else str(odd)] = None
    if missing:
        raise UsageError(
            f"{title}: pictures missing from the data folder: {_few(missing)}; "
            "unpack the picture archive there or put the .zip beside the annotations"
        )
    if unreadable:
        raise UsageError(
            f"{title}: pictures that cannot be read: {_few(unreadable)}; download them again"
        )


def require_picture(head: bytes, name: str) -> None:
    """``OSError`` where a file begins as no picture does: what a download left in its place."""
    if not head:
        raise OSError(f"{name} is empty")
    if head.startswith(POINTER):
        raise OSError(f"{name} is a Git LFS pointer; run `git lfs pull`")
    if head.lstrip().startswith((b"<", b"%PDF")):
        raise OSError(f"{name} is a text (a web page, SVG or PDF), no picture")


def _few(names: Iterable[str]) -> str:
    names = list(names)
    few = ", ".join(islice(names, _LISTED)) + (", ..." if len(names) > _LISTED else "")
    return f"{len(names)} ({few})"


_UPWARDS = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)|^[/\\]|^[A-Za-z]:[/\\]")
"""A name that goes up, or starts at the root (of a drive)."""
_LONGEST = 1000
_ENCRYPTED = 0x1
BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # encrypted; NotImplementedError (an unknown packing) is one too
    ValueError,
    OSError,
)
"""What reading a damaged archive raises."""


def _fault(name: object) -> str:
    """Why a name is none that a picture may have inside its folder; "" where it is one."""
    if not isinstance(name, str):
        return "a text is wanted"
    if not name or "\0" in name or len(name) > _LONGEST:
        return "it is empty, too long or holds a NUL"
    if _UPWARDS.search(name):
        return "it leaves the picture folder"
    if not name.isascii() and any("\ud800" <= mark <= "\udfff" for mark in name):
        return "it is no Unicode text"
    return ""


def _leads_out(path: str, base: str) -> bool:
    """Whether a link takes a file out of its folder.  Where the folder itself lies is its owner's
    choice; the hub's cache keeps files as links out of ``snapshots`` into ``blobs``."""
    if not os.path.islink(path):
        path = os.path.dirname(path)
        return _outside(path, base)
    return _outside.__wrapped__(path, base)


@lru_cache(maxsize=4096)
def _outside(path: str, base: str) -> bool:
    real = os.path.realpath(path)
    homes = (os.path.realpath(base), os.path.realpath(base.partition("/snapshots/")[0]))
    return not any(real == home or real.startswith(f"{home}/") for home in homes)


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
    except BROKEN_ZIP as broken:
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
