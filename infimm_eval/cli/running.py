"""``run`` and ``rescore``: benchmarks on a model, and its answers scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from infimm_eval.cli import parsing
from infimm_eval.cli.plan_options import plan_options, plan_request

if TYPE_CHECKING:
    from infimm_eval.cli.plan_options import Planned

    class _Run(Planned):
        """What ``run`` is called with."""

        model: str
        output: Path | None


DONE, INCOMPLETE = 0, 3

_OUTPUT = click.Path(path_type=Path)


@click.command()
@plan_options()
@click.pass_context
def run(ctx: click.Context, /, **given: Unpack[_Run]) -> int:
    """Run benchmarks on a model; the same command again continues.

    \b
    infimm-eval --tasks coco,vqav2 --shots 0,4
        the demo model on the demo data
    infimm-eval --model FOLDER --tasks all --judge openai:NAME --data DIR --output results/mine
        a checkpoint on files in the official layouts, zero-shot; the judge grades two of them
    infimm-eval --model hf:ID --tasks textvqa --limit 50 --batch-size 8
        fifty samples of one benchmark, with a model of the transformers library
    infimm-eval --model openai:NAME --base-url http://127.0.0.1:8000/v1 --tasks okvqa
        a served model
    """
    if given["print_config"]:
        click.echo(parsing.as_config(ctx))
        return DONE
    from infimm_eval import report
    from infimm_eval.run import bar, evaluate
    from infimm_eval.run import run as run_plan

    listener = bar.Bar(given["quiet"])
    plan, model = evaluate.prepare(given["model"], plan_request(ctx, given), listener)
    if plan.zero_shot_only:
        listener.say(f"zero-shot only, run at 0 shots: {', '.join(plan.zero_shot_only)}")
    folder = given["output"] or Path("results") / evaluate.slug(given["model"])
    listener.say(f"model {given['model']}, data {plan.data}, output {folder}")
    for remark in getattr(model, "remarks", ()):
        listener.say(remark)
    try:
        cells = run_plan(plan, model, folder, listener)
    finally:
        evaluate.close(model)
    click.echo(report.screen(cells))  # first: a report that cannot be written hides no figure
    written = report.write([folder], folder)
    listener.say("report: " + ", ".join(map(str, written)))
    if all(cell.finished for cell in cells):
        return DONE
    if given["quiet"]:  # which hides progress, not the reason of an exit code
        click.echo("\n".join(listener.noted), err=True)
    return INCOMPLETE


@click.command()
@click.argument("run", type=_OUTPUT)
@click.option(
    "--scorer",
    multiple=True,
    callback=parsing.by_task,
    metavar="TASK=NAME",
    help="Another scorer for the headline, e.g. textvqa=official (see `tasks`).",
)
@click.option("--tasks", callback=parsing.words, metavar="FILES", help="Tasks of your own.")
@click.option("--judge", help="Grades anew; else the verdicts in the log are read again.")
@click.option(
    "--judge-runs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How often the judge grades each answer; the mean counts.",
)
@click.option("--judge-base-url", help="Where an openai: judge answers.")
def rescore(
    run: Path,
    scorer: dict[str, Any],
    tasks: tuple[str, ...],
    judge: str | None,
    judge_runs: int,
    judge_base_url: str | None,
) -> int:
    """Score a run again from its log, with today's scorers: no model, no pictures, no data.

    \b
    infimm-eval rescore results/demo --scorer textvqa=official
    infimm-eval rescore results/mine --judge openai:NAME --judge-runs 3
    """
    from infimm_eval import report
    from infimm_eval.run import evaluate
    from infimm_eval.run.rescore import rescore as score_again

    cells = score_again(
        run,
        scorer=scorer,
        tasks=tasks,
        judge=evaluate.load_judge({"judge": judge, "judge_base_url": judge_base_url}),
        judge_runs=judge_runs,
        note=lambda text: click.echo(text, err=True),
    )
    report.write([run], run)
    click.echo(report.screen(cells))
    return DONE if all(cell.finished for cell in cells) else INCOMPLETE
