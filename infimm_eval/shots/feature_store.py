"""The feature store: vectors of pictures (or texts) by digest, in one file that only grows.

    FOLDER/KEY/features.f32.npy   one vector a row, to be mapped into memory
               digests.txt        the SHA-256 of each row's picture file (or text), a line each
               about.json         what made them; KEY is its hash

A row counts once its line is there, and lines are written after rows: whatever broke off in between
is cut off by the next writer.  One process writes at a time.  Knows nothing of encoders.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infimm_eval.errors import UsageError

if TYPE_CHECKING:
    from infimm_eval.shots.search import Vectors

_npy: Any = np.lib.format
"""Untyped in good part, and Any as a whole."""

HEADER = 128
"""Bytes before the first row: numpy's header, with room for a growing number of rows."""
_LINE = 65
"""Bytes of a line of ``digests.txt``: 64 hexadecimal digits and the line's end."""


def default_folder() -> Path:
    """``infimm_eval/features`` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "infimm_eval" / "features"


def key(about: Mapping[str, Any]) -> str:
    """Names everything that features depend on beside the picture."""
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


class FeatureStore:
    """Vectors of one encoder, in ``folder`` under the key of what it is ``about``.

    ``UsageError`` where the folder cannot be written.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder / key(about)
        self._about = about
        self._rows: dict[str, int] = {}
        self._read = 0
        with self._writing("opened"):
            self._refresh()

    def __len__(self) -> int:
        return self._read

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def row(self, digest: str) -> int:
        """The row of a digest in ``vectors``; ``KeyError`` where there is none."""
        return self._rows[digest]

    @property
    def vectors(self) -> Vectors:
        """Every row that was there at the last look, mapped into memory."""
        if not self._read:
            return np.empty((0, 0), np.float32)
        shape = (self._read, self._width())
        return np.memmap(self._features, np.float32, "r", HEADER, shape)

    def add(self, digests: Sequence[str], vectors: Vectors) -> None:
        """Append rows, those apart that another process has added meanwhile."""
        with self._writing("written"):
            self._refresh()
            new = {d: v for d, v in zip(digests, vectors, strict=True) if d not in self._rows}
            if not new:
                return
            if self._read and self._width() != vectors.shape[1]:
                raise UsageError(
                    f"{self.folder} holds vectors of {self._width()} numbers, not of "
                    f"{vectors.shape[1]}; delete that folder"
                )
            rows = np.ascontiguousarray(np.stack(list(new.values())), "<f4")
            width = rows.shape[1]
            if not self._read:
                _write(self._features, 0, _header(0, width))
            _write(self._features, HEADER + self._read * width * 4, rows.tobytes())
            _write(self._digests, self._read * _LINE, "".join(f"{d}\n" for d in new).encode())
            self._refresh()
            _write(self._features, 0, _header(self._read, width), cut=False)

    @property
    def _features(self) -> Path:
        return self.folder / "features.f32.npy"

    @property
    def _digests(self) -> Path:
        return self.folder / "digests.txt"

    def _width(self) -> int:
        with self._features.open("rb") as file:
            file.seek(len(_npy.magic(1, 0)))
            shape: tuple[int, ...] = _npy.read_array_header_1_0(file)[0]
        return int(shape[1])

    def _refresh(self) -> None:
        """Learn what is there.  A line counts where it is whole and its row is there, too."""
        lines = self._digests.read_bytes() if self._digests.is_file() else b""
        count = len(lines) // _LINE
        if count:
            size = self._features.stat().st_size if self._features.is_file() else 0
            try:
                count = min(count, max(0, size - HEADER) // (4 * self._width()))
            except (OSError, ValueError):  # what is no features file is written anew
                count = 0
        names = lines[: count * _LINE].decode("ascii", "replace").split("\n")[:count]
        self._rows = {digest: row for row, digest in enumerate(names)}
        self._read = count

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Alone among processes."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as guard:
                fcntl.flock(guard, fcntl.LOCK_EX)
                about = self.folder / "about.json"
                if not about.is_file():
                    about.write_text(json.dumps(self._about, indent=1) + "\n", encoding="utf-8")
                yield
        except OSError as error:
            raise UsageError(
                f"features cannot be {what} in {self.folder} ({error.strerror}); choose another "
                "--retrieval-cache"
            ) from error


def _header(count: int, width: int) -> bytes:
    """Numpy's own for (count, width), filled up with the spaces that it allows for."""
    file = BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    _npy.write_array_header_1_0(file, shape)
    made = file.getvalue()
    assert len(made) == HEADER
    return made


def _write(path: Path, start: int, data: bytes, *, cut: bool = True) -> None:
    """Put bytes at a place, nothing after them where the rest is ``cut``; on disk on return."""
    with path.open("r+b" if path.exists() else "x+b") as file:
        file.seek(start)
        file.write(data)
        if cut:
            file.truncate()
        file.flush()
        os.fsync(file.fileno())
