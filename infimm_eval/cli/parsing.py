"""What people type, turned into values, with one line where that cannot be done."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from infimm_eval.cli.completion import complete_task
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
    """``KEY=VALUE``, repeated; a value may hold anything."""
    found = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise click.BadParameter(f"{text!r} is not of the form {option.metavar}")
        found[key.strip()] = value.strip()
    return found


def typed_pairs(
    ctx: click.Context, option: click.Parameter, given: Sequence[str] | None
) -> dict[str, Any]:
    """``KEY=VALUE``, repeated; true, false, numbers and other JSON mean what they say."""
    return {key: _meant(value) for key, value in pairs(ctx, option, given).items()}


def _meant(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def by_task(
    ctx: click.Context, option: click.Parameter, given: Sequence[str] | None
) -> dict[str, str]:
    """``TASK=NAME``, repeated or separated by commas."""
    return pairs(ctx, option, [word for text in given or () for word in text.split(",")])


def limits(_: click.Context, __: click.Parameter, given: Sequence[str] | None) -> dict[str, int]:
    """``N`` for every task (under ``""``), ``TASK=N`` for one."""
    found = {}
    for text in given or ():
        task, _equals, number = text.rpartition("=")
        if (count := _count(number)) < 1:
            raise click.BadParameter(f"{text!r} is neither N nor TASK=N, N being at least 1")
        found[task.strip()] = count
    return found


class FiniteRange(click.FloatRange):
    """Numbers of a range, none of them ``nan`` or infinite."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number; click compares, and ``nan`` is beyond no limit."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return found


def batch(_: click.Context, __: click.Parameter, text: str) -> int | str:
    """``auto``, or how many requests a batch holds."""
    if text == "auto":
        return text
    if (count := _count(text)) < 1:
        raise click.BadParameter(f"{text!r} is neither auto nor a number of at least 1")
    return count


def _count(text: str) -> int:
    """A number as it is written, 0 for whatever is none."""
    try:
        return int(text)
    except ValueError:
        return 0


def workers(_: click.Context, __: click.Parameter, text: str | None) -> int | str | None:
    """``auto``, or how many."""
    if text is None or text == "auto":
        return text
    if (count := _count(text)) < 1:
        raise click.BadParameter(f"{text!r} is neither auto nor a number of at least 1")
    return count


def samples(_: click.Context, __: click.Parameter, text: str) -> int | None:
    """How many; ``None`` for ``all``."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise click.BadParameter(f"{text!r} is neither all nor a number")
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
    options = {name.strip("-").replace("-", "_"): p for p in ctx.command.params for name in p.opts}
    for key in written:
        if key.replace("-", "_") not in options:
            raise unknown(f"option in {path}", key, options)
    named = ((options[key.replace("-", "_")], value) for key, value in written.items())
    ctx.default_map = {str(option.name): _as_typed(option, value) for option, value in named}
    return path


def _as_typed(option: click.Parameter, value: Any) -> Any:
    """A value of TOML as the command line would have it."""
    if isinstance(option, click.Option) and option.multiple:
        if isinstance(value, Mapping):
            return [f"{key}={inner}" for key, inner in value.items()]
        return [str(inner) for inner in (value if isinstance(value, list) else [value])]
    if isinstance(value, list):
        return ",".join(map(str, value))
    if not isinstance(value, str | int | float):
        kind = "a table" if isinstance(value, Mapping) else "a date or time"
        raise UsageError(f"{option.opts[0]} is {kind}; a text or a number is wanted")
    return value


def as_config(ctx: click.Context) -> str:
    """The options of a command as a TOML file that ``config`` reads: those that were given, and
    the others with their defaults in comments."""
    lines: list[str] = []
    for option in ctx.command.params:
        name = option.name or ""
        if not isinstance(option, click.Option) or name in {"config", "print_config", "help"}:
            continue
        key = name.replace("_", "-")
        value = ctx.params[name]
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            key = f"# {key}"
        said = "" if value is None or value in ((), {}) else _toml(value)
        lines += [f"# {option.help}", f"{key} = {said}".rstrip()]
    for task, parts in (ctx.obj or {}).items():
        lines += ["", f"[prompts.{_toml(task)}]"]
        lines += [f"{part} = {_toml(text)}" for part, text in parts.items()]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """A value as TOML writes it, which is JSON but for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, Path):
        return _toml(str(value))
    return json.dumps(value, ensure_ascii=False)


def foreign_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options about logs of other harnesses, which the command gets as one ``reading``."""

    @wraps(command)
    def read(**given: Any) -> Any:
        from infimm_eval.run.foreign import Reading

        words = {name: given.pop(name) for name in ("task", "references", "part", "by_row")}
        return command(reading=Reading(**words), **given)

    for option in reversed(_FOREIGN):
        read = option(read)
    return read


_FOREIGN = (
    click.option(
        "--task",
        shell_complete=complete_task,
        help="Whose questions these are, e.g. vqav2, where FILE does not say.",
    ),
    click.option(
        "--references",
        type=click.Path(path_type=Path),
        help="A data folder, demo, hub or the authors' answer file; none where FILE carries it.",
    ),
    click.option("--part", help="Of a log with several filters, epochs or results, this one."),
    click.option(
        "--by-row", is_flag=True, help="A log's row numbers are those of --references, in order."
    ),
)


def write(path: Path, content: bytes) -> None:
    """Write a file that a person has named; ``UsageError`` where that cannot be done."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another") from error
