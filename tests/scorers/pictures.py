"""A picture that nobody reads."""

from __future__ import annotations

from infimm_eval.types import Image


class _Unread(Image):
    name = key = "unread.png"

    def read(self) -> bytes:
        raise OSError("rulers do not look at pictures")


PICTURE = _Unread()
