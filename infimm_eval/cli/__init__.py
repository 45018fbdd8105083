"""The command line.  Parses, wires, prints; decides nothing else.

Heavy modules are imported inside the commands, so that ``--help`` and a typo are answered at once.
"""

from __future__ import annotations

import sqlite3
import sys
import traceback
from collections.abc import Sequence

import click

from infimm_eval import __version__
from infimm_eval.cli import about, comparing, files, reports, running
from infimm_eval.errors import InfimmEvalError, unknown

DONE, REGRESSION, USAGE, INCOMPLETE = 0, 1, 2, 3
"""Exit codes: done, a regression found, the user's mistake, incomplete or failed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.  Known troubles are one line on stderr."""
    try:
        code = infimm_eval.main(argv, prog_name="infimm-eval", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.ClickException as error:
        _say(f"infimm-eval: {error.format_message()}")
        return USAGE
    except InfimmEvalError as error:
        _say(f"infimm-eval: {error}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("infimm-eval: stopped; every answer so far is kept, the same command continues")
        return INCOMPLETE
    except sqlite3.DatabaseError as error:
        _say(f"infimm-eval: the run log cannot be used ({error}); what it holds is kept")
        return INCOMPLETE
    except Exception as error:  # noqa: BLE001  Python's exit code, 1, would say: a regression
        if isinstance(error, OSError) and error.strerror:
            what = f"{error.filename}: " if error.filename else ""
            _say(f"infimm-eval: {what}{error.strerror}; what was answered before is kept")
        else:
            traceback.print_exc()
        return INCOMPLETE


class _Verbs(click.Group):
    """Commands of which one, ``run``, is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0] not in own and args[0].startswith("-"):
            args = ["run", *args]
        return super().parse_args(ctx, args or ["--help"])

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
    files.score,
    comparing.compare,
    reports.report,
    files.submit,
    about.tasks,
    about.models,
    reports.show,
    about.doctor,
):
    infimm_eval.add_command(_command)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
