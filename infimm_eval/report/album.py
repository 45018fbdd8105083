"""The pictures of a page: each once, small, all together within a budget of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from infimm_eval.errors import UsageError

SIZES = ((192, 96), (144, 72), (96, 48), (64, 32), (48, 24))
"""Longer sides in pixels to try, for a sample's own pictures and for those of its shots."""

_PROBES = 48


@dataclass(slots=True)
class _Picture:
    name: str
    read: Callable[[], bytes | None]
    small: bool


class Album:
    """Numbers pictures as they come; encodes them when all are known."""

    def __init__(self) -> None:
        self._pictures: dict[str, tuple[int, _Picture]] = {}

    def add(self, key: str, name: str, read: Callable[[], bytes | None], *, small: bool) -> int:
        """The picture's number.  It is ``small`` while nothing needs it larger."""
        at, picture = self._pictures.setdefault(
            key, (len(self._pictures), _Picture(name, read, small))
        )
        picture.small = picture.small and small
        return at

    def values(self, budget: int) -> list[dict[str, Any]]:
        """Name and base64 WEBP of every picture, ``None`` where the log keeps none.

        The largest of ``SIZES`` whose sum stays within ``budget`` bytes of base64; where even the
        smallest does not, pictures of shots are left out, and then later ones.
        """
        pictures = [picture for _, picture in self._pictures.values()]
        read = [(picture, picture.read()) for picture in pictures]
        some = read[:: max(1, len(read) // _PROBES)]
        for sizes in SIZES:
            # A few tell whether all would fit: encoding all of them at every size takes seconds.
            guess = sum(map(len, _encoded(some, sizes))) * len(read) / max(1, len(some))
            if guess > budget and sizes != SIZES[-1]:
                continue
            encoded = _encoded(read, sizes)
            if sum(map(len, encoded)) <= budget:
                break
        left = budget
        kept: dict[int, str] = {}
        for at in sorted(range(len(pictures)), key=lambda at: pictures[at].small):
            if 0 < len(encoded[at]) <= left:
                kept[at] = encoded[at]
                left -= len(encoded[at])
        return [{"name": p.name, "webp": kept.get(at)} for at, p in enumerate(pictures)]


def _encoded(
    pictures: Iterable[tuple[_Picture, bytes | None]], sizes: tuple[int, int]
) -> list[str]:
    own, shot = sizes

    def one(read: tuple[_Picture, bytes | None]) -> str:
        picture, webp = read
        return _shrunk(picture.name, webp, shot if picture.small else own) if webp else ""

    with ThreadPoolExecutor() as pool:  # Pillow lets other threads work while it does
        return list(pool.map(one, pictures))


def _shrunk(name: str, webp: bytes, side: int) -> str:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
            if max(picture.size) > side:
                picture.thumbnail((side, side))
                file = io.BytesIO()
                picture.save(file, "WEBP", quality=65, method=4)
                webp = file.getvalue()
    except OSError as error:
        raise UsageError(f"the run's thumbnail of {name} is damaged; run it again") from error
    return base64.b64encode(webp).decode("ascii")
