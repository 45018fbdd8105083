"""A picture becomes the tensor that the vision tower was trained on, bit for bit.

It knows nothing of prompts, models or benchmarks, and never guesses at a picture that it cannot
read.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image

from infimm_eval.errors import UsageError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""The colour statistics of OpenAI's CLIP (Radford et al. 2021), which EVA-CLIP keeps."""

MAX_PIXELS = 89_478_485
"""The largest picture that is decoded or made by resizing: 256 MiB of RGB, Pillow's own bound."""

Source: TypeAlias = Image.Image | bytes | str | PathLike[str]
"""A picture in memory, an encoded file in memory, or the path of one."""


class PictureError(UsageError):
    """A picture that cannot be shown to the model.  The message names it and says why."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """How one checkpoint wants its pictures: ``size`` pixels a side, ``(x/255 - mean) / std``.
    ``rgb_first``: see ``preprocess``."""

    size: int = 336
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    rgb_first: bool = False

    def __call__(self, source: Source, name: str = "") -> torch.Tensor:
        """``preprocess`` with this checkpoint's numbers: float32, (3, size, size)."""
        return preprocess(
            source, self.size, self.mean, self.std, name=name, rgb_first=self.rgb_first
        )

    @classmethod
    def load(cls, folder: Path) -> Pictures:
        """Read ``preprocessor_config.json``; what it leaves out is InfiMM-Zephyr's.

        InfiMM's own file holds ``image_size`` alone.  ``image_mean`` and ``image_std`` are the
        names that transformers gives the other two.
        """
        path = folder / "preprocessor_config.json"
        if not path.is_file():
            raise UsageError(f"{folder} has no preprocessor_config.json: is it a checkpoint?")
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
            size, mean, std = (
                int(written.get("image_size", cls().size)),
                tuple(map(float, written.get("image_mean", CLIP_MEAN))),
                tuple(map(float, written.get("image_std", CLIP_STD))),
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from error
        if size < 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UsageError(f"{path}: image_size must be positive; mean and std, three numbers")
        return cls(size, mean, std)

    def black(self) -> torch.Tensor:
        """What a black picture becomes, which is not zeros: the original's stand-in for none."""
        return self(Image.new("RGB", (self.size, self.size)))


def preprocess(
    source: Source,
    size: int = 336,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
    *,
    name: str = "",
    max_pixels: int = MAX_PIXELS,
    rgb_first: bool = False,
) -> torch.Tensor:
    """The float32 tensor (3, ``size``, ``size``) of a picture, as InfiMM's and OpenFlamingo's
    processors make it.

    The shorter side becomes ``size`` (bicubic), the centre is cut out, and only then does the
    picture become RGB.  That order is the original's, and it shows: palette and one-bit pictures
    are resized without smoothing, what is transparent turns black, 16-bit grey is clipped at 255.
    EXIF orientation is ignored and an animation shows its first frame.

    ``rgb_first`` is the order of transformers' ``CLIPImageProcessor``, which Otter uses: RGB, then
    the resize, then a cut whose offset is rounded down.  It takes an array of height 1 or 3 for one
    with the channels first; as there, a picture 3 pixels high comes out with its axes exchanged and
    one 1 pixel high is a ``PictureError``.

    Safe in many threads, as long as two of them do not share one undecoded ``Image``.

    Raises ``PictureError`` for what is missing, unreadable, truncated or beyond ``max_pixels``
    before or after resizing (a larger bound than the default is still subject to Pillow's own);
    ``name`` is what the message calls a picture that has no path.
    """
    name = name or _name(source)
    picture = opened(source, name, max_pixels)
    if rgb_first:
        picture = _axes_as_clip_reads_them(_rgb(picture, name), name)
    square = _square(picture, size, name, max_pixels, floor=rgb_first)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()
    middle, spread = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (mean, std))
    return pixels.to(torch.float32).div_(255).sub_(middle).div_(spread)


BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise at damaged files."""

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def _name(source: Source) -> str:
    if isinstance(source, bytes):
        return f"a picture of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or "a picture in memory"
    return str(source) if isinstance(source, str | PathLike) else "a picture"


def opened(source: Source, name: str, max_pixels: int) -> Image.Image:
    """The picture with its pixels decoded, having looked at its size first.

    ``PictureError``, which calls it by its ``name``, where it cannot be or has over ``max_pixels``.
    """
    if not isinstance(source, Image.Image | bytes | str | PathLike):
        raise PictureError(
            f"{name}: a picture is a path, bytes or PIL.Image, not a {type(source).__name__}"
        )
    if isinstance(source, str) and re.match(r"(https?|ftp|data|file):", source):
        raise PictureError(f"{name[:60]}: addresses are not opened; pass a path or the bytes")
    try:
        if isinstance(source, Image.Image):
            picture = source
        else:
            file = source if isinstance(source, bytes) else Path(source).read_bytes()
            picture = Image.open(BytesIO(file))
        width, height = picture.size
        if width * height > max_pixels:
            raise PictureError(f"{name}: {width} x {height} is beyond {max_pixels} pixels")
        if width * height == 0:
            raise PictureError(f"{name}: {width} x {height} has no pixels")
        picture.load()
    except FileNotFoundError as error:
        raise PictureError(f"{name}: there is no such file") from error
    except _BOMB as error:
        raise PictureError(f"{name}: beyond {max_pixels} pixels ({error})") from error
    except BROKEN as error:
        raise PictureError(f"{name}: not a readable picture ({error})") from error
    return picture


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    # Pillow warns that a palette's transparency is lost.  It is, on purpose.
    picture.info.pop("transparency", None)
    try:
        return picture.convert("RGB")
    except ValueError as error:
        raise PictureError(f"{name}: a {picture.mode} picture cannot become RGB") from error


def _axes_as_clip_reads_them(picture: Image.Image, name: str) -> Image.Image:
    if picture.height == 1:
        raise PictureError(
            f"{name}: {picture.width} x 1 pixels, which this model's own processor takes for a "
            "picture of one channel and refuses"
        )
    if picture.height == 3:
        return Image.fromarray(np.ascontiguousarray(np.array(picture).transpose(1, 2, 0)))
    return picture


def _square(
    picture: Image.Image, size: int, name: str, max_pixels: int, *, floor: bool
) -> Image.Image:
    """Shorter side to ``size``, centre cut out, RGB last.

    The longer side is rounded down, the cut's offset to the nearest even number at .5, both as
    torchvision has them; with ``floor`` the offset is rounded down, too.
    """
    width, height = picture.size
    short, long = min(width, height), size * max(width, height) // min(width, height)
    if size * long > max_pixels:
        raise PictureError(
            f"{name}: {width} x {height} is too narrow; with {size} pixels across, "
            f"it would be {long} long"
        )
    try:
        if short != size:
            resized = (size, long) if width <= height else (long, size)
            picture = picture.resize(resized, Image.Resampling.BICUBIC)
        left, top = (
            (side - size) // 2 if floor else round((side - size) / 2) for side in picture.size
        )
        picture = picture.crop((left, top, left + size, top + size))
        return _rgb(picture, name)
    except ValueError as error:
        raise PictureError(f"{name}: a {picture.mode} picture cannot become RGB") from error
