"""``run``: benchmarks on a model."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from infimm_eval.cli.parsing import batch, config, numbers, words
from infimm_eval.errors import UsageError, unknown

if TYPE_CHECKING:
    from infimm_eval.runner import Plan
    from infimm_eval.types import Model, Task

DONE, INCOMPLETE = 0, 3


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=config,
    is_eager=True,
    help="A TOML file with any of these options, and [prompts.TASK] templates.",
)
@click.option(
    "--tasks",
    callback=words,
    metavar="NAMES",
    help="Benchmarks, comma-separated: names (see `tasks`), all, or the path of a plugin file.",
)
@click.option("--shots", default="0", show_default=True, callback=numbers, metavar="N,N")
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
@click.option("--seed", default="0", show_default=True, callback=numbers, metavar="N,N")
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
@click.option("--ocr", is_flag=True, help="Put OCR tokens into TextVQA's questions; marked so.")
@click.option(
    "--ruler",
    callback=words,
    metavar="TASK=NAME",
    help="Another ruler for the headline, e.g. mmbench=judged,textvqa=official (see `tasks`).",
)
@click.option("--judge", help="The model that grades MM-Vet and InfiMM-Eval, e.g. openai:NAME.")
@click.option("--judge-runs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--base-url", help="Where openai: models answer, e.g. http://127.0.0.1:8000/v1.")
@click.option("--batch-size", default="auto", show_default=True, callback=batch)
@click.option(
    "--check-batching",
    type=click.IntRange(min=0),
    default=0,
    help="Ask N samples again, each alone, and report answers that differ.",
)
@click.option(
    "--picture-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder that keeps encoded pictures for later runs of the same weights.",
)
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True, help="float32 or bfloat16.")
@click.option("--output", type=click.Path(path_type=Path), help="Default: results/<model>.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.pass_context
def run(ctx: click.Context, /, config: Path | None, **options: Any) -> int:
    """Run benchmarks on a model; the same command again continues."""
    from infimm_eval import registry, report, runner, screen

    if not options["tasks"]:
        raise UsageError("name the benchmarks: --tasks coco,vqav2, or --tasks all")
    tasks = _ruled(registry.select(options["tasks"]), options["ruler"])
    if options["ocr"] and not any(task.ocr for task in tasks):
        raise UsageError("--ocr: none of these benchmarks brings OCR tokens; textvqa does")
    wordings = ctx.obj or {}
    for name in wordings:
        if name not in {known for task in tasks for known in (task.name, task.name.split(":")[0])}:
            raise unknown("task in [prompts]", name, [task.name for task in tasks])
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
        ocr=options["ocr"],
        judge=_judge(options, place),
        judge_runs=options["judge_runs"],
        wordings=wordings,
        check_batching=options["check_batching"],
    )
    _explain(plan, watcher.say)
    model = _model(options["model"], options)
    folder = options["output"] or Path("results") / _slug(options["model"])
    watcher.say(_introduction(options["model"], place, folder))
    cells = runner.run(plan, model, folder, watcher)
    written = report.write([folder], folder)
    click.echo(report.screen(cells))
    watcher.say("report: " + ", ".join(map(str, written)))
    whole = all(cell.n and not cell.missing for cell in cells)
    return DONE if whole else INCOMPLETE


def _ruled(tasks: list[Task], chosen: tuple[str, ...]) -> list[Task]:
    """The tasks with the rulers that ``TASK=NAME`` names."""
    from infimm_eval import registry

    rulers = dict(word.partition("=")[::2] for word in chosen)
    for name in rulers:
        if name not in {task.name for task in tasks}:
            raise unknown("task in --ruler", name, [task.name for task in tasks])
    return [registry.ruled(t, rulers[t.name]) if t.name in rulers else t for t in tasks]


def _model(spec: str, options: dict[str, Any]) -> Model:
    # On a busy processor the threads of a small model wait longer than they work; OpenMP reads
    # this once, before torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from infimm_eval import models

    return models.load(
        spec,
        device=options["device"],
        dtype=options["dtype"],
        batch_size=options["batch_size"],
        revision=options["model_revision"],
        base_url=options["base_url"] if spec.startswith("openai:") else None,
        picture_cache=options["picture_cache"],
    )


def _judge(options: dict[str, Any], place: str) -> Model | None:
    from infimm_eval import models

    spec = options["judge"] or ("demo-judge" if place == "demo" else None)
    if spec is None:
        return None
    if spec.startswith("openai:"):
        return models.load(spec, base_url=options["base_url"])
    return models.load(spec, device=options["device"], dtype=options["dtype"])


def _explain(plan: Plan, say: Any) -> None:
    """Say of zero-shot benchmarks that they are, where shots were asked for."""
    if any(plan.shots):
        names = [task.name for task in plan.tasks if task.shots is None]
        if names:
            say(f"zero-shot only, run at 0 shots: {', '.join(names)}")


def _introduction(model: str, place: str, folder: Path) -> str:
    return f"model {model}, data {place}, output {folder}"


def _slug(model: str) -> str:
    """A folder's name for a model: the last folder of a path (with the one above it where it only
    counts steps), a hub id with its owner."""
    if Path(model).is_dir():
        folder = Path(model).resolve()
        numbered = re.fullmatch(r"(checkpoint|step|epoch|global_step)[-_]?\d+", folder.name)
        return f"{folder.parent.name}-{folder.name}" if numbered else folder.name
    return re.sub(r"[^\w.-]+", "-", model)
