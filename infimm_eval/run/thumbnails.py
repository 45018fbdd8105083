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


def webp(image: Image) -> bytes:
    """A picture as WEBP, at most ``SIDE`` pixels a side, EXIF rotation applied for people."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    with Pillow.open(io.BytesIO(image.read())) as picture:
        upright = ImageOps.exif_transpose(picture)
        small = upright.convert("RGB")
        small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=70, method=4)
    return file.getvalue()
