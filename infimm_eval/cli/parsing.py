"""What people type, turned into values, with one line where that cannot be done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from infimm_eval.errors import UsageError, unknown


def words(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names, separated by commas or spaces."""
    return tuple(word for word in re.split(r"[,\s]+", text or "") if word)


def numbers(_: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    """Whole numbers from 0, separated by commas."""
    try:
        found = tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        found = ()
    if not found or min(found) < 0:
        raise click.BadParameter(f"{text!r} is no list of whole numbers such as 0,4")
    return found


def pairs(_: click.Context, option: click.Parameter, given: Sequence[str] | None) -> dict[str, str]:
    """``KEY=VALUE``, repeated or separated by commas; a value may hold ``=`` and, where the
    option is repeated, commas."""
    found = {}
    for text in given or ():
        several = text.count("=") > 1 and "," in text
        for word in text.split(",") if several else [text]:
            key, equals, value = word.partition("=")
            if not key.strip() or not equals:
                raise click.BadParameter(f"{word!r} is not of the form {option.metavar}")
            found[key.strip()] = value.strip()
    return found


def batch(_: click.Context, __: click.Parameter, text: str) -> int | str:
    """``auto``, or how many requests a batch holds."""
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither auto nor a number of at least 1")
    return int(text)


def config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Options from a TOML file stand in where the command line says nothing."""
    if path is None:
        return None
    import tomllib

    if not path.is_file():
        raise UsageError(f"{path} is no regular file")
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, too deep, too many digits
        raise UsageError(f"{path}: {error}") from error
    ctx.obj = written.pop("prompts", {})
    options = {p.name: p for p in ctx.command.params}
    for key in written:
        if key.replace("-", "_") not in options:
            raise unknown(f"option in {path}", key, [name for name in options if name])
    ctx.default_map = {k.replace("-", "_"): _as_typed(v) for k, v in written.items()}
    return path


def _as_typed(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value
