"""Files as authors publish them: found in a person's folder, read as a stream, refused clearly.

Whatever a file holds, reading it fails with one ``UsageError`` that names the file and the record.
Knows nothing of benchmarks or pictures.
"""

from __future__ import annotations

import codecs
import json
import re
import stat
import sys
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO

from infimm_eval.errors import UsageError, named, shown

_CHUNK = 1 << 20
_CUT = 16
"""So near its end a text that was cut may look wrong for no other reason (``tru``, ``\\u00``)."""
POINTER = b"version https://git-lfs.github.com/spec/"
"""How a file begins that Git LFS has not fetched."""
_DEEPEST = 3000
_INNER = ("annotations", "Annotations")
_SPACE = " \t\n\r"
_AFTER = frozenset(_SPACE + ",]}:")
"""What may stand after a JSON value that is complete."""


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; of what cannot even be a path there is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def find(root: Path, *names: str) -> Path | None:
    """The first of ``names`` that is in the folder (if only as a link), in one of its subfolders
    or in an ``annotations`` folder of either; ``None`` where none is."""
    places = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    for name in names:
        for place in places:
            for candidate in (place / name, *(place / inner / name for inner in _INNER)):
                if candidate.exists() or candidate.is_symlink():
                    return candidate
    return None


def require(root: Path, *names: str) -> Path:
    """``find``, or ``FileNotFoundError`` that names the file."""
    path = find(root, *names)
    if path is None:
        raise FileNotFoundError(" or ".join(names))
    return path


def read_json(path: Path) -> Any:
    """A whole (small) JSON file; a byte order mark is no matter."""
    with open_data(path) as file:
        return parse_json(file.read(), str(path))


def parse_json(data: bytes, where: str, **how: Any) -> Any:
    """The value of a JSON text; ``how`` is ``json.loads``'s, ``where`` stands in the message."""
    try:
        with _bounded_depth():
            return json.loads(data.decode("utf-8-sig"), **{"parse_int": finite_integer, **how})
    except RecursionError as deep:
        raise UsageError(f"{where} is not JSON that can be read: it is nested too deep") from deep
    except ValueError as broken:  # no JSON, no UTF-8, or a number of thousands of digits
        raise UsageError(f"{where} is not JSON ({broken}); download it again") from broken


def finite_integer(text: str) -> int:
    """A whole number of a JSON text.  ``ValueError`` for one beyond any float: nothing is counted
    or scored by it, and arithmetic with it fails far from the file that holds it."""
    if len(text) > sys.float_info.max_10_exp:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def whole_number(text: str) -> int | None:
    """An id or a count, in up to 18 ASCII digits; ``None`` for any other text.  What Python calls
    digits holds "²" and numbers of any length, and ``int`` fails on both."""
    return int(text) if _DIGITS.fullmatch(text) else None


_DIGITS = re.compile("[0-9]{1,18}")


@contextmanager
def _bounded_depth() -> Iterator[None]:
    """Where another library has raised Python's limit, a text nested deep enough would overflow
    the stack of the JSON scanner, and end the process."""
    limit = sys.getrecursionlimit()
    if limit <= _DEEPEST:
        yield
        return
    sys.setrecursionlimit(_DEEPEST)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def stream(path: Path, key: str | None = None) -> Iterator[Any]:
    """The elements of a JSON array, one at a time: that under ``key`` of the file's object, or
    the file itself (``None``).  Memory is that of the largest element."""
    with open_data(path) as file:
        scan = _Scanner(file, path)
        if key is None:
            yield from scan.array()
            return
        for name in scan.members():
            if name == key:
                yield from scan.array()
                return
            scan.skip()
    raise UsageError(f"{path} has no {key!r} array; is it the right file?")


def stream_object(path: Path) -> Iterator[tuple[str, Any]]:
    """The members of a JSON file's object, one at a time."""
    with open_data(path) as file:
        scan = _Scanner(file, path)
        for name in scan.members():
            yield name, scan.value()


def member_names(path: Path) -> Iterator[str]:
    """The names of a JSON file's object, or of its first line's, each as soon as it is read."""
    with open_data(path) as file:
        scan = _Scanner(file, path)
        for name in scan.members():
            yield name
            scan.skip()


def json_lines(path: Path) -> Iterator[Any]:
    """One JSON value a line.  Only LF ends a line: U+2028 may stand inside a string."""
    return (value for _, value in numbered_json_lines(path))


def numbered_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The same, each value with the number of its line, the first being 1."""
    with open_data(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip() not in (b"", codecs.BOM_UTF8):
                yield number, parse_json(line, f"{path} line {number}")


def open_data(path: Path) -> BinaryIO:
    """Open a data file, refusing the stand-ins that lie where one should be, and whatever is no
    file at all: a pipe would wait for ever, a device never end."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UsageError(f"{path} is a folder where a file is expected")
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is no regular file; save what it gives to a file")
        file = path.open("rb")
    except FileNotFoundError:
        what = "is a link to nothing" if path.is_symlink() else "is not there"
        raise UsageError(f"{path} {what}; download the file itself") from None
    except OSError as odd:
        raise UsageError(f"{path} cannot be opened ({odd.strerror})") from odd
    start = file.read(len(POINTER))
    file.seek(0)
    if start == POINTER:
        file.close()
        raise UsageError(f"{path} is a Git LFS pointer; run `git lfs pull` or download the file")
    if not start:
        file.close()
        raise UsageError(f"{path} is empty; download it again")
    return file


@dataclass(frozen=True, slots=True, kw_only=True)
class OneFile:
    """What readers of a single file have in common."""

    file: str

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (self.file,)

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return (require(root, self.file),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneFileAndPictures(OneFile):
    """The same, with a folder of pictures near it."""

    images: str

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (self.file, f"the pictures in {self.images} (folder or .zip)")


class Unique:
    """Refuses the second row of the same id."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._seen: set[Hashable] = set()

    def __call__(self, id: Hashable) -> None:
        """Take the next id; ``UsageError`` where it was there before."""
        if id in self._seen:
            raise UsageError(f"{self._path}: {self._what} {named(id)} occurs twice")
        self._seen.add(id)


class Line(dict[str, Any]):
    """A row that knows where it stands: a column that it lacks is a ``UsageError`` saying so."""

    def __init__(self, cells: Mapping[str, Any], place: str) -> None:
        super().__init__(cells)
        self.place = place

    def __missing__(self, column: str) -> Any:
        raise UsageError(f"{self.place} has no {column!r}; it has {', '.join(self)}")


def column(record: Any, name: str, path: Path, number: int) -> Any:
    """``record[name]``, or a ``UsageError`` that says which record of which file lacks it."""
    try:
        return record[name]
    except (KeyError, TypeError, IndexError):
        raise UsageError(f"{path} record {number} has no {name!r}; is it the right file?") from None


def text(record: Any, name: str, path: Path, number: int) -> str:
    """The same, of a column that holds a text."""
    value = column(record, name, path, number)
    if not isinstance(value, str):
        raise _other(value, name, path, number, "a text")
    return value


def identifier(record: Any, name: str, path: Path, number: int) -> int | str:
    """The same, of one that holds an id: a whole number, or a text that is not empty."""
    value = column(record, name, path, number)
    if type(value) is int or (isinstance(value, str) and value):
        return value
    raise _other(value, name, path, number, "a whole number or a text")


def listed(record: Any, name: str, path: Path, number: int) -> list[Any]:
    """The same, of one that holds a list."""
    value = column(record, name, path, number)
    if not isinstance(value, list):
        raise _other(value, name, path, number, "a list")
    return value


def _other(value: object, name: str, path: Path, number: int, wanted: str) -> UsageError:
    return UsageError(f"{path} record {number}: {name} is {shown(value)}; {wanted} is wanted")


class _Scanner:
    """Walks a JSON text that is never in memory as a whole."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._read, self._ended = "", 0, 0, False
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan: Callable[[str, int], tuple[Any, int]] = vars(
            json.JSONDecoder(parse_int=finite_integer)
        )["scan_once"]

    def members(self) -> Iterator[str]:
        """The names of an object's members; the caller takes each value before the next."""
        self._expect("{")
        if self._peek() == "}":
            return
        while True:
            name = self.value()
            self._expect(":")
            yield name
            if self._expect(",}") == "}":
                return

    def array(self) -> Iterator[Any]:
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._expect(",]") == "]":
                return

    def skip(self) -> None:
        if self._peek() == "[":
            for _ in self.array():
                pass
        else:
            self.value()

    def value(self) -> Any:
        self._peek()
        while True:
            try:
                with _bounded_depth():
                    value, end = self._scan(self._text, self._at)
            except (JSONDecodeError, StopIteration) as broken:
                if self._may_be_cut(broken) and self._more():
                    continue
                raise self._refuse("a value") from broken
            except (RecursionError, ValueError) as odd:  # too deep; a number of 500 digits
                raise self._refuse("a value less deep and no number of hundreds of digits") from odd
            # A number at the end of what was read may go on behind it.
            if self._text[end : end + 1] in _AFTER or not self._more():
                self._at = end
                return value

    def _peek(self) -> str:
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _SPACE:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if not self._more():
                raise self._refuse("more")

    def _expect(self, marks: str) -> str:
        mark = self._peek()
        if mark not in marks:
            raise self._refuse(" or ".join(marks))
        self._at += 1
        return mark

    def _may_be_cut(self, broken: JSONDecodeError | StopIteration) -> bool:
        """Whether more of the text could put it right: else a file of gigabytes would be read to
        its end for a mistake in its first line."""
        if isinstance(broken, JSONDecodeError) and not broken.msg.startswith("Unterminated"):
            return broken.pos >= len(self._text.rstrip(_SPACE)) - _CUT
        return True

    def _more(self) -> bool:
        """Read on; at least as much as is waiting, so that a long value is not scanned often."""
        if self._ended:
            return False
        waiting = self._text[self._at :]
        try:
            data = self._file.read(max(_CHUNK, len(waiting)))
            text = self._decode.decode(data, final=not data)
        except UnicodeDecodeError as broken:
            raise UsageError(f"{self._path} is not UTF-8 text: {broken}") from broken
        self._read += self._at
        self._text, self._at, self._ended = waiting + text, 0, not data
        return True

    def _refuse(self, wanted: str) -> UsageError:
        place = self._read + self._at
        return UsageError(
            f"{self._path} is not valid JSON: expected {wanted} at character {place}; "
            "download it again"
        )
