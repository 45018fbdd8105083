"""The command line.  Parses, wires, prints; decides nothing else.

Heavy modules are imported inside the commands, so that ``--help`` and a typo are answered at once.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infimm_eval import __version__
from infimm_eval.errors import InfimmEvalError, UsageError, unknown

if TYPE_CHECKING:
    from infimm_eval.runner import Plan
    from infimm_eval.types import Model

DONE, REGRESSION, USAGE, INCOMPLETE = 0, 1, 2, 3
"""Exit codes: done, a regression found, the user's mistake, incomplete or failed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.  Known troubles are one line on stderr."""
    try:
        code = infimm_eval.main(argv, prog_name="infimm-eval", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.ClickException as error:
        error.show()
        return USAGE
    except InfimmEvalError as error:
        _say(f"infimm-eval: {error}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("infimm-eval: stopped; every answer so far is kept, the same command continues")
        return INCOMPLETE
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        what = f"{error.filename}: " if error.filename else ""
        _say(f"infimm-eval: {what}{error.strerror}; what was answered before is kept")
        return INCOMPLETE
    except sqlite3.DatabaseError as error:
        _say(f"infimm-eval: the run log cannot be used ({error}); what it holds is kept")
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


def _words(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", text or "") if word)


def _numbers(_: click.Context, option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise click.BadParameter(f"{text!r} is no list of whole numbers such as 0,4")
    return numbers


def _batch(_: click.Context, __: click.Parameter, text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither auto nor a number of at least 1")
    return int(text)


def _config(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Options from a TOML file stand in where the command line says nothing."""
    if path is None:
        return None
    import tomllib

    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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


@infimm_eval.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_config,
    is_eager=True,
    help="A TOML file with any of these options, and [prompts.TASK] templates.",
)
@click.option(
    "--tasks",
    callback=_words,
    metavar="NAMES",
    help="Benchmarks, comma-separated: names (see `tasks`), all, or the path of a plugin file.",
)
@click.option("--shots", default="0", show_default=True, callback=_numbers, metavar="N,N")
@click.option(
    "--model",
    default="demo",
    show_default=True,
    help="demo, a checkpoint folder or hub id, hf:ID, openai:NAME (see `models`).",
)
@click.option("--data", help="demo, hub or a folder; demo for the demo model, else hub.")
@click.option("--revision", help="The hub commit of the data to pin.")
@click.option("--model-revision", help="The hub commit of the model to pin.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N samples only; marked so.")
@click.option("--seed", default="0", show_default=True, callback=_numbers, metavar="N,N")
@click.option(
    "--support",
    type=click.Choice(["random", "fixed"]),
    default="random",
    show_default=True,
    help="Shots drawn for each question, or the same for all.",
)
@click.option(
    "--zero-shot-demos",
    type=click.IntRange(min=0),
    help="Text-only examples at 0 shots; 2 for completion, 0 for instruct.",
)
@click.option("--prompt-style", type=click.Choice(["completion", "instruct"]))
@click.option(
    "--choice",
    type=click.Choice(["generate", "rank"]),
    default="generate",
    show_default=True,
    help="How multiple choice is asked: by generation or by log-likelihood.",
)
@click.option("--judge", help="The model that grades MM-Vet and InfiMM-Eval, e.g. openai:NAME.")
@click.option("--judge-runs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--base-url", help="Where openai: models answer, e.g. http://127.0.0.1:8000/v1.")
@click.option("--batch-size", default="auto", show_default=True, callback=_batch)
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16.")
@click.option("--output", type=click.Path(path_type=Path), help="Default: results/<model>.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def run(ctx: click.Context, /, config: Path | None, **options: Any) -> int:
    """Run benchmarks on a model; the same command again continues."""
    from infimm_eval import registry, report, runner, screen

    if not options["tasks"]:
        raise UsageError("name the benchmarks: --tasks coco,vqav2, or --tasks all")
    tasks = registry.select(options["tasks"])
    place = options["data"] or ("demo" if options["model"] == "demo" else "hub")
    watcher = screen.Screen(options["quiet"])
    plan = runner.Plan(
        tasks=tasks,
        shots=options["shots"],
        seeds=options["seed"],
        data=place,
        revision=options["revision"],
        limit=options["limit"],
        support=options["support"],
        zero_shot_demos=options["zero_shot_demos"],
        style=options["prompt_style"],
        choice=options["choice"],
        judge=_judge(options, place),
        judge_runs=options["judge_runs"],
        wordings=ctx.obj or {},
    )
    _explain(plan, watcher.say)
    model = _model(options["model"], options)
    folder = options["output"] or Path("results") / _slug(options["model"])
    watcher.say(_introduction(options["model"], place, folder))
    cells = runner.run(plan, model, folder, watcher)
    written = report.write([folder], folder)
    click.echo(report.screen(cells))
    watcher.say("report: " + ", ".join(map(str, written)))
    whole = all(cell.unscored == 0 and cell.value is not None for cell in cells)
    return DONE if whole else INCOMPLETE


@infimm_eval.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Default: the first run's folder.")
@click.option("--samples", type=click.IntRange(min=0), default=200, show_default=True)
def report(runs: tuple[Path, ...], output: Path | None, samples: int) -> None:
    """Write report.md and report.html from finished runs."""
    from infimm_eval import report

    for path in report.write(list(runs), output or runs[0], samples=samples):
        click.echo(path)


@infimm_eval.command()
def tasks() -> None:
    """List the benchmarks."""
    from infimm_eval import registry

    for task in registry.select(["all"]):
        shots = "few-shot" if task.shots else "zero-shot only"
        rulers = ", ".join(task.variants)
        click.echo(f"{task.name:<12} {task.title:<22} {shots:<15} {task.headline} ({rulers})")


@infimm_eval.command(name="models")
def models_() -> None:
    """List the kinds of model."""
    from infimm_eval import models

    for spec, about in models.available():
        click.echo(f"{spec:<20} {about}")


# -- what the commands share ---------------------------------------------------------------------


def _model(spec: str, options: dict[str, Any]) -> Model:
    from infimm_eval import models

    return models.load(
        spec,
        device=options["device"],
        dtype=options["dtype"],
        batch_size=options["batch_size"],
        revision=options["model_revision"],
        base_url=options["base_url"] if spec.startswith("openai:") else None,
    )


def _judge(options: dict[str, Any], place: str) -> Model | None:
    from infimm_eval import models

    spec = options["judge"] or ("demo-judge" if place == "demo" else None)
    if spec is None:
        return None
    url = options["base_url"] if spec.startswith("openai:") else None
    return models.load(spec, device=options["device"], dtype=options["dtype"], base_url=url)


def _explain(plan: Plan, say: Any) -> None:
    """Say of zero-shot benchmarks that they are, where shots were asked for."""
    if any(plan.shots):
        names = [task.name for task in plan.tasks if task.shots is None]
        if names:
            say(f"zero-shot only, run at 0 shots: {', '.join(names)}")


def _introduction(model: str, place: str, folder: Path) -> str:
    lines = [f"model {model}, data {place}, output {folder}"]
    if "demo" in (model, place):
        lines.append(
            "the demo model is tiny and the demo data is drawn by code: its figures say that the "
            "machinery works.\nreal use: --model FOLDER_OR_HUB_ID --data DIR (or --data hub)"
        )
    return "\n".join(lines)


def _slug(model: str) -> str:
    """A folder's name for a model: the last folder of a path, a hub id with its owner."""
    if Path(model).is_dir():
        return Path(model).resolve().name
    return re.sub(r"[^\w.-]+", "-", model)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
