"""The command line.  Parses, wires, prints; decides nothing else.

Heavy modules are imported inside the commands, so that ``--help`` and a typo are answered at once.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from infimm_eval import __version__
from infimm_eval.cli import (
    about,
    benchmarks,
    comparing,
    completion,
    files,
    planning,
    publishing,
    reports,
    running,
    watching,
)
from infimm_eval.errors import InfimmEvalError, unknown

DONE, REGRESSION, USAGE, INCOMPLETE = 0, 1, 2, 3
"""Exit codes: done, a regression found, the user's mistake, incomplete or failed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.  Known troubles are one line on stderr."""
    try:
        with _stopped_by_a_signal():
            code = infimm_eval.main(argv, prog_name=completion.PROGRAM, standalone_mode=False)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001
        # Python's own exit code, 1, would say that a regression was found.
        code, line = _told(error)
        if line:
            _say(f"infimm-eval: {line}")
    return code if isinstance(code, int) else DONE


def _told(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for what ended a command; of a fault of the program, its
    traceback."""
    code, line = INCOMPLETE, ""
    match error:
        case _ReaderGone():
            pass
        case SystemExit() if completion.asked():
            code = DONE
        case SystemExit():
            line = f"something called sys.exit({error.code!r}); what was answered is kept"
        case click.Abort() | KeyboardInterrupt():
            line = "stopped; every answer so far is kept, the same command continues"
        case click.ClickException():
            code, line = USAGE, error.format_message()
        case InfimmEvalError():
            code, line = error.exit_code, str(error)
        case sqlite3.DatabaseError():
            line = f"the run log cannot be used ({error}); what it holds is kept"
        case OSError() if error.strerror:
            what = f"{error.filename}: " if error.filename else ""
            line = f"{what}{error.strerror}; what was answered before is kept"
        case _:
            traceback.print_exception(error)
    return code, line


def command() -> NoReturn:
    """``main`` as a program: a second Ctrl-C changes nothing, and where it was stopped no thread
    that is still scoring holds it up."""
    try:
        code = main()
    except KeyboardInterrupt:
        code = INCOMPLETE
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            stream.flush()
    alone = all(thread.daemon for thread in threading.enumerate()[1:])
    if alone and code != INCOMPLETE:
        sys.exit(code)
    os._exit(code)


@contextmanager
def _stopped_by_a_signal() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _ReaderGone(Exception):
    """Whoever read our output has gone."""


class _Verbs(click.Group):
    """Commands of which one, ``run``, is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0] not in own and args[0].startswith("-"):
            args = ["run", *args]
        return super().parse_args(ctx, args or ["--help"])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with 1
            raise _ReaderGone from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            found += self.commands["run"].shell_complete(ctx, incomplete)
        return list({item.value: item for item in found}.values())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Options of run (the command meant where none is named)"):
            rows = [p.get_help_record(ctx) for p in self.commands["run"].params]
            formatter.write_dl([row for row in rows if row])
        self.format_commands(ctx, formatter)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="infimm-eval")
def infimm_eval() -> None:
    """Evaluate vision-language models the way the Flamingo family is evaluated.

    \b
    infimm-eval --tasks coco,vqav2 --shots 0,4
        runs the built-in demo model on the built-in demo data
    infimm-eval --model Infi-MM/infimm-zephyr --tasks coco,vqav2 --shots 0,4 --data DIR
        runs a checkpoint on files in the official layout
    """


for _command in (
    running.run,
    running.rescore,
    watching.watch,
    files.score,
    comparing.compare,
    planning.plan,
    reports.report,
    files.submit,
    publishing.publish,
    benchmarks.tasks,
    about.models,
    reports.show,
    reports.icl,
    about.doctor,
    completion.completion,
):
    infimm_eval.add_command(_command)


def _say(text: str) -> None:
    with suppress(OSError):  # nobody may be there to read it
        print(text, file=sys.stderr)
