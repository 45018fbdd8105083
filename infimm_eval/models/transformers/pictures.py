"""A person's picture as processors of the transformers library expect it: upright, 8 bits, RGB.

Knows kinds of files, no processor; never guesses what a picture without a scale means.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from PIL import Image, ImageOps

from infimm_eval.flamingo.pictures import BROKEN, MAX_PIXELS, PictureError, opened


def decoded(file: bytes, name: str) -> Image.Image:
    """The picture of an encoded file, turned as its EXIF says, as the library's own loader does.

    Grey of 16 bits is scaled to 8.  ``PictureError``, which calls it by its ``name``, for what
    cannot be read and for numbers of no known scale (float, 32 bits).
    """
    picture = opened(file, name, 2 * MAX_PIXELS)
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")
    if picture.mode in ("I", "F") and not sixteen:
        raise PictureError(
            f"{name}: a picture in mode {picture.mode} says nothing of its scale; save it with 8 "
            "or 16 bits"
        )
    with suppress(*BROKEN):  # what is no EXIF says nothing
        picture = ImageOps.exif_transpose(picture)
    try:
        if sixteen:
            picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
        return picture.convert("RGB")
    except BROKEN as error:
        raise PictureError(f"{name}: not a readable picture ({error})") from error
