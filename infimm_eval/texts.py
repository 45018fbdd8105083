"""Text as people read it: names in natural order, columns aligned, nothing that steers a terminal.

It refuses to know what the texts are about, and the colours and widths of terminals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sorts names as people count: ``grade2`` before ``grade10``, in any case of letters."""
    parts: list[str | int] = []
    for at, part in enumerate(re.split("([0-9]+)", name.casefold())):
        # a number is compared by its length first: Python reads none of over 4,300 digits
        digits = part.lstrip("0") if at % 2 else ""
        parts += [len(digits), digits] if at % 2 else [part]
    return tuple(parts), name


def printable(text: str) -> str:
    """Text with control, direction and line-breaking characters spelled out, so that none of them
    reaches a terminal; line feeds stay."""
    return "".join(c if c in "\n" + _JOINERS or _harmless(c) else f"\\u{ord(c):04x}" for c in text)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Rows, the first of them the heads, as lines of columns; those in ``right`` are set flush
    right, and those that are empty but for their head are left out."""
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(_width(row[i]) for row in rows) for i in used}
    return [
        "  ".join(_padded(row[i], widths[i], right=i in right) for i in used).rstrip()
        for row in rows
    ]


_JOINERS = "\u200c\u200d"


def _harmless(c: str) -> bool:
    category = unicodedata.category(c)
    return category[0] != "C" and category not in ("Zl", "Zp")


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
