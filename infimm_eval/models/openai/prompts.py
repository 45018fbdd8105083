"""A prompt as a chat endpoint reads it: messages, pictures as data URLs.

Sends nothing.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from io import BytesIO
from typing import Any

from infimm_eval.errors import MachineryError
from infimm_eval.types import Content, Image, Prompt


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The prompt as chat messages: text alone as a string, with pictures as parts in order."""
    said = [{"role": turn.role, "content": _parts(turn.content)} for turn in prompt.turns]
    return [{"role": "system", "content": prompt.system}, *said] if prompt.system else said


def _parts(content: Content) -> str | list[dict[str, Any]]:
    texts = [piece for piece in content if isinstance(piece, str)]
    if len(texts) == len(content):
        return "".join(texts)
    return [
        {"type": "text", "text": piece}
        if isinstance(piece, str)
        else {"type": "image_url", "image_url": {"url": data_url(piece)}}
        for piece in content
        if piece != ""
    ]


_SIGNATURES = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF8", "gif"))


def data_url(image: Image) -> str:
    """The picture's own bytes where servers read its format, else the same pixels as PNG."""
    try:
        file = image.read()
    except OSError as error:
        raise MachineryError(f"{image.name}: the picture cannot be read ({error})") from error
    kind = next((kind for start, kind in _SIGNATURES if file.startswith(start)), None)
    if kind is None and file[:4] == b"RIFF" and file[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        kind, file = "png", _as_png(file, image.name)
    return f"data:image/{kind};base64,{b64encode(file).decode()}"


_BROKEN = (
    *(OSError, EOFError, SyntaxError, struct.error),
    *(ValueError, TypeError, LookupError, ArithmeticError),
)
"""What Pillow raises over files that are no pictures, or are damaged."""


def _as_png(file: bytes, name: str) -> bytes:
    from PIL import Image as Pillow
    from PIL import ImageOps

    out = BytesIO()
    try:
        with Pillow.open(BytesIO(file)) as picture:
            ImageOps.exif_transpose(picture).convert("RGB").save(out, "PNG")
    except (*_BROKEN, Pillow.DecompressionBombError) as error:
        raise MachineryError(f"{name}: not a readable picture ({error})") from error
    return out.getvalue()
