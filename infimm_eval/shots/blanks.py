"""Blank pictures: one colour, the size of the picture that each stands for.

Knows sizes of pictures; knows nothing of samples and of why one is blank.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

from infimm_eval.errors import UsageError
from infimm_eval.types import Image

COLOUR = (122, 116, 104)
"""The mean of CLIP's pictures: zero after its normalisation."""

_SIDEWAYS = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned, and its values that swap width and height."""


@dataclass(frozen=True, slots=True)
class Blank(Image):
    """A picture of one colour.  Equal sizes are one picture, so that each is encoded once."""

    width: int
    height: int

    @property
    def name(self) -> str:
        """Says that it is blank, and how large."""
        return f"blank {self.width}x{self.height}"

    @property
    def key(self) -> str:
        """Its size: nothing else can change."""
        return f"blank-1:{self.width}x{self.height}"

    def read(self) -> bytes:
        """A PNG."""
        return _png(self.width, self.height)


def blank(image: Image) -> Blank:
    """The blank picture of the same size, as a person sees it (EXIF rotation applied).

    ``UsageError`` where the picture's size cannot be read.
    """
    return Blank(*_size(image))


@lru_cache(maxsize=2**13)
def _size(image: Image) -> tuple[int, int]:
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(image.read())) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise UsageError(f"{image.name}: its size cannot be read ({error})") from error
    return (height, width) if turned else (width, height)


@lru_cache(maxsize=64)
def _png(width: int, height: int) -> bytes:
    from PIL import Image as Pillow

    file = io.BytesIO()
    Pillow.new("RGB", (width, height), COLOUR).save(file, "PNG")
    return file.getvalue()
