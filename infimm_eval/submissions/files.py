"""Reading and writing whole files, with one clear line where they are not what they should be.

Knows no benchmark's format.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import json_lines, open_data, parse_json
from infimm_eval.errors import UsageError, named, shown


def load_json(path: Path, **how: Any) -> Any:
    """A JSON file, with or without a byte order mark; ``how`` is ``json.loads``'s."""
    with open_data(path) as file:
        return parse_json(file.read(), str(path), **how)


def write_json(path: Path, value: object) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=None))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_list(path: Path, wanted: Iterable[str], body: Any = None) -> list[Mapping[str, Any]]:
    """A JSON list (or JSON lines) of objects that all have the ``wanted`` keys, also one that lies
    under ``results``; ``body`` where it was read already."""
    if body is None:
        body = list(json_lines(path)) if path.suffix == ".jsonl" else load_json(path)
    if isinstance(body, dict) and isinstance(body.get("results"), list):
        body = body["results"]
    shape = f"a list of objects with {' and '.join(wanted)}"
    if not isinstance(body, list):
        raise UsageError(f"{path} holds {_kind(body)}; it should be {shape}")
    for number, row in enumerate(body):
        if not isinstance(row, dict) or any(key not in row for key in wanted):
            raise UsageError(f"{path}: entry {number} is {_begun(row)}; it should be {shape}")
    return body


def load_object(path: Path, shape: str) -> dict[str, Any]:
    """A JSON object, each of whose names occurs once; ``shape`` says what it should map."""

    def whole(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(members)
        if len(found) < len(members):
            counted = Counter(name for name, _ in members)
            twice = next(name for name, count in counted.items() if count > 1)
            raise UsageError(f"{path} has {shown(twice)} twice; one is wanted")
        return found

    value = load_json(path, object_pairs_hook=whole)
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds {_kind(value)}; it should map {shape}")
    return value


def entries(path: Path, body: Any) -> Iterator[dict[str, Any]]:
    """The objects of a list, each looked at."""
    if not isinstance(body, list):
        raise UsageError(f"{path} holds {_kind(body)} where a list of objects is wanted")
    for number, row in enumerate(body):
        if not isinstance(row, dict):
            raise UsageError(f"{path}: entry {number} is {_begun(row)}; an object is wanted")
        yield row


def once(path: Path, found: dict[str, str], key: str, text: str) -> None:
    """Enter an answer; a second one for the same id is an error."""
    if key in found:
        raise UsageError(f"{path} has two answers for {named(key)}; one is wanted")
    found[key] = text


def id_of(row: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    """An entry's id as text: a number (also with a fraction of zero) or a text."""
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float | str) or value == "":
        raise UsageError(
            f"{path}: entry {number} has the {name} {shown(value)}; a number or a text is wanted"
        )
    return str(value)


def integer(key: str, leaderboard: str) -> int:
    """An official numeric id."""
    try:
        return int(key)
    except ValueError as error:
        raise UsageError(f"{leaderboard} wants numbers for ids, this run has {key!r}") from error


def text_of(value: object, path: Path, key: str) -> str:
    """An answer: a text, or a number as the text that it is written as; ``UsageError`` names any
    other."""
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(
            f"{path}: the answer for {named(key)} is {shown(value)}; it should be text"
        )
    if not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
        raise UsageError(
            f"{path}: the answer for {named(key)} holds half of a character; is it cut?"
        )
    return value


def _begun(row: object) -> str:
    return row[:80] if isinstance(row, str) else shown(row)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), "a number")
