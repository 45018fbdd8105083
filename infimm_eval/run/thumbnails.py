"""Small copies of pictures for the report, made once while the pictures are at hand."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable
from hashlib import sha256

from infimm_eval.types import Image

SIDE = 192
"""Pixels of the longer side: sharp at the size the report shows, about 4 kB."""


def showcase(ids: Iterable[str], count: int) -> frozenset[str]:
    """``count`` ids, the same ones whatever the model, the shots or the order of the rows."""
    return frozenset(heapq.nsmallest(count, ids, key=lambda id: sha256(id.encode()).digest()))


def webp(image: Image) -> tuple[bytes, int]:
    """A picture as WEBP, at most ``SIDE`` pixels a side, EXIF rotation applied for people; and how
    many pixels the picture itself has.

    ``OSError`` where it cannot be shown, whatever is wrong with it.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    file = io.BytesIO()
    try:
        with Pillow.open(io.BytesIO(image.read())) as picture:
            pixels = picture.width * picture.height
            small = ImageOps.exif_transpose(picture).convert("RGB")
            small.thumbnail((SIDE, SIDE))
            small.save(file, "WEBP", quality=70, method=4)
    except (ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        raise OSError(f"{image.name}: {error}") from error
    return file.getvalue(), pixels
