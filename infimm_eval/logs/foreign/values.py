"""A log of another harness as a value, and what its readers share.  Knows no tool's columns."""

from __future__ import annotations

import math
import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import read_json
from infimm_eval.errors import UsageError, shown
from infimm_eval.types import ForeignRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLog:
    """One file of another harness, ready to be read as often as wanted."""

    tool: str
    path: Path
    records: Callable[[], Iterator[tuple[str, ForeignRecord]]]
    """Every answer, under the name of its part: a filter, an epoch, a result.  A file that holds
    one answer a question has one part, ``""``."""
    names: tuple[str, ...] = ()
    """What the file calls its benchmark, the likeliest first; none where nothing tells."""
    like: str = ""
    """Another tool, whose questions these are where a benchmark says nothing of this one."""
    model: str = ""
    version: str = ""
    shots: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    """The tool's own totals, by its names, where they lie beside."""

    @property
    def said(self) -> str:
        """The tool with its version."""
        return f"{self.tool} {self.version}".strip()


def mapping(value: Any) -> Mapping[str, Any]:
    """A value where an object is wanted; an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A value where a list is wanted; an empty one where it is none."""
    return value if isinstance(value, list) else []


def one_text(value: Any, place: str) -> str:
    """The one answer of a field that may be a text, a list of it, or a list of lists of it."""
    texts = list(dict.fromkeys(_texts(value, place)))
    if len(texts) > 1:
        raise UsageError(
            f"{place} holds {len(texts)} different answers to one question ({shown(texts[0])}, "
            f"{shown(texts[1])}); a log of one repeat is wanted"
        )
    return texts[0] if texts else ""


def _texts(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner, place)
    elif value is None:
        yield ""
    elif isinstance(value, str | int | float):
        yield str(value)
    else:
        raise UsageError(f"{place} has {shown(value)} where an answer is wanted")


def number(value: Any) -> float | None:
    """A finite number, also of a truth value or of its name; ``None``: it is none."""
    if isinstance(value, str):
        value = _NAMED.get(value.strip(), value)
    if not isinstance(value, str | int | float):
        return None
    try:
        value = float(value)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


_NAMED = {"True": 1.0, "False": 0.0, "C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""What VLMEvalKit and Inspect write for right, wrong, partly right and no answer."""


def numbers(row: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, float]:
    """The numbers of a row by name, also of a dict with a ``score``."""
    found = {}
    for name in row if names is None else names:
        value = row.get(name)
        inner = value.get("score") if isinstance(value, Mapping) else value
        if not isinstance(inner, str) and (score := number(inner)) is not None:
            found[name] = score
    return found


def whole(value: Any) -> int | None:
    """A row number, as number or text; ``None``: it is none."""
    try:
        return int(str(value))
    except ValueError:
        return None


def a_list(text: Any) -> list[str]:
    """A list of texts, also one that is written as Python would; ``[]``: it is none."""
    if isinstance(text, str) and text.lstrip().startswith("["):
        try:
            text = literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return []
    return [str(item) for item in listed(text)]


_OPTION = re.compile(r"^\s*\(?([A-Z])[.)]\s+(.*)$")


def options_in(prompt: str) -> tuple[str, ...]:
    """The options that a prompt lists, a line each: ``A. red`` or ``(A) red``, from A on."""
    options: list[str] = []
    for line in prompt.split("\n"):
        found = _OPTION.match(line)
        if found and found[1] == chr(ord("A") + len(options)):
            options.append(found[2].strip())
    return tuple(options)


def beside(path: Path) -> Mapping[str, Any]:
    """A small JSON object that lies beside a log; empty where there is none that can be read."""
    if not path.is_file() or path.stat().st_size > _SMALL:
        return {}
    try:
        body = read_json(path)
    except UsageError:  # it only says what the tool made of the answers, which are elsewhere
        return {}
    return mapping(body)


_SMALL = 1 << 26
