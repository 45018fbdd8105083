"""Reading and writing whole files, with one clear line where they are not what they should be.

Knows no benchmark's format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import json_lines
from infimm_eval.errors import UsageError


def load_json(path: Path, **how: Any) -> Any:
    """A JSON file, with or without a byte order mark; ``how`` is ``json.loads``'s."""
    try:
        return parse_json(path.read_bytes(), path, **how)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder; a JSON file is wanted") from error


def parse_json(data: bytes, path: Path, **how: Any) -> Any:
    """The value of a JSON text that was read from ``path``."""
    try:
        return json.loads(data.decode("utf-8-sig"), **how)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error})") from error


def write_json(path: Path, value: object) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(value, ensure_ascii=False, indent=None), encoding="utf-8")
    draft.replace(path)


def load_list(path: Path, wanted: Iterable[str], body: Any = None) -> list[Mapping[str, Any]]:
    """A JSON list (or JSON lines) of objects that all have the ``wanted`` keys; ``body`` where it
    was read already."""
    if body is None:
        body = list(json_lines(path)) if path.suffix == ".jsonl" else load_json(path)
    shape = f"a list of objects with {' and '.join(wanted)}"
    if not isinstance(body, list):
        raise UsageError(f"{path} holds {_kind(body)}; it should be {shape}")
    for number, row in enumerate(body):
        if not isinstance(row, dict) or any(key not in row for key in wanted):
            raise UsageError(f"{path}: entry {number} is {str(row)[:80]}; it should be {shape}")
    return body


def load_object(path: Path, shape: str) -> dict[str, Any]:
    """A JSON object, each of whose names occurs once; ``shape`` says what it should map."""

    def whole(members: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(members)
        if len(found) < len(members):
            names = [name for name, _ in members]
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"{path} has {twice!r} twice; one is wanted")
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
            raise UsageError(f"{path}: entry {number} is {str(row)[:80]}; an object is wanted")
        yield row


def once(path: Path, found: dict[str, str], key: str, text: str) -> None:
    """Enter an answer; a second one for the same id is an error."""
    if key in found:
        raise UsageError(f"{path} has two answers for {key}; one is wanted")
    found[key] = text


def integer(key: str, leaderboard: str) -> int:
    """An official numeric id."""
    try:
        return int(key)
    except ValueError as error:
        raise UsageError(f"{leaderboard} wants numbers for ids, this run has {key!r}") from error


def text_of(value: object, path: Path, key: str) -> str:
    """An answer that is a text; ``UsageError`` names any other."""
    if not isinstance(value, str):
        raise UsageError(f"{path}: the answer for {key} is {value!r}; it should be text")
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), "a number")
