"""Reading and writing whole files, with one clear line where they are not what they should be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import json_lines
from infimm_eval.errors import UsageError


def load_json(path: Path) -> Any:
    """A JSON file, with or without a byte order mark."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder; a JSON file is wanted") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON ({error})") from error


def write_json(path: Path, value: object) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(value, ensure_ascii=False, indent=None), encoding="utf-8")
    os.replace(draft, path)


def load_list(path: Path, wanted: Iterable[str]) -> list[Mapping[str, Any]]:
    """A JSON list (or JSON lines) of objects that all have the ``wanted`` keys."""
    rows = list(json_lines(path)) if path.suffix == ".jsonl" else load_json(path)
    shape = f"a list of objects with {' and '.join(wanted)}"
    if not isinstance(rows, list):
        raise UsageError(f"{path} holds a {type(rows).__name__}; it should be {shape}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or any(key not in row for key in wanted):
            raise UsageError(f"{path}: entry {number} is {str(row)[:80]}; it should be {shape}")
    return rows


def load_object(path: Path, shape: str) -> dict[str, Any]:
    """A JSON object; ``shape`` says what it should map."""
    value = load_json(path)
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds a {type(value).__name__}; it should map {shape}")
    return value


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
    if not isinstance(value, str):
        raise UsageError(f"{path}: the answer for {key} is {value!r}; it should be text")
    return value
