"""Requests on their way to a worker, and their pictures: by the path where it can read the same
file, else by the object store, once a node.  Never decodes one.
"""

from __future__ import annotations

import copyreg
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from operator import attrgetter
from typing import Any

from infimm_eval.data.pictures import FileImage
from infimm_eval.types import Answer, Image, Prompt, Request, Turn


def _pickle_quickly(kind: type) -> None:
    """By its constructor: the state of frozen dataclasses is taken and given field by field in
    Python, which is most of what a driver does for a request with many shots."""
    values = attrgetter(*(each.name for each in fields(kind)))
    copyreg.pickle(kind, lambda value: (kind, values(value)))


for _kind in (Request, Prompt, Turn, Answer, FileImage):
    _pickle_quickly(_kind)


@dataclass(frozen=True, slots=True)
class SentImage(Image):
    """A picture whose file travels beside the requests; equal where the files are."""

    name: str = ""
    key: str = ""
    sha256: str = ""
    file: bytes = field(default=b"", compare=False, repr=False)

    def read(self) -> bytes:
        """The encoded file."""
        return self.file

    def digest(self) -> str:
        """Known before it travelled."""
        return self.sha256


def exchange(request: Request, by: Callable[[Image], Image]) -> Request:
    """The request with other handles of the same pictures."""
    turns = tuple(
        replace(turn, content=tuple(by(p) if isinstance(p, Image) else p for p in turn.content))
        for turn in request.prompt.turns
    )
    return replace(request, prompt=replace(request.prompt, turns=turns))


def unpacked(requests: Iterable[Request], files: Mapping[str, bytes]) -> list[Request]:
    """Requests whose ``SentImage``s have their files, by digest."""

    def whole(image: Image) -> Image:
        found = files.get(image.sha256) if isinstance(image, SentImage) else None
        return replace(image, file=found) if found is not None else image  # type: ignore[type-var]

    return [exchange(request, whole) for request in requests]


def is_here(image: Image) -> bool:
    """Whether there is such a picture on this machine."""
    try:
        return bool(image.key)
    except OSError:
        return False


class PictureStore:
    """Files of pictures in the object store, each put there once while ``room`` bytes hold it."""

    def __init__(self, room: int, put: Callable[[bytes], Any]) -> None:
        """``put`` gives a reference for a file."""
        self.room, self._put = room, put
        self.puts = self.bytes = self._used = 0
        self._digests: dict[Image, str] = {}
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def packed(self, image: Image) -> tuple[Image, Any]:
        """The handle that travels, and the reference of its file.  One that cannot be read goes
        as it is: the worker's model says what it always says of such a picture."""
        try:
            digest, file = self._placed(image)
            return SentImage(image.name, image.key, digest), file
        except OSError:
            return image, None

    def whole(self, image: Image) -> Image:
        """The handle with its file inside it."""
        file = image.read()
        return SentImage(image.name, image.key, sha256(file).hexdigest(), file)

    def _placed(self, image: Image) -> tuple[str, Any]:
        digest = self._digests.get(image, "")
        if digest not in self._kept:
            file = image.read()
            digest = self._digests[image] = sha256(file).hexdigest()
            if digest not in self._kept:
                self._kept[digest] = self._put(file), len(file)
                self._used += len(file)
                self.puts += 1
                self.bytes += len(file)
            while self._used > self.room and len(self._kept) > 1:
                self._used -= self._kept.popitem(last=False)[1][1]
        self._kept.move_to_end(digest)
        return digest, self._kept[digest][0]
