"""``watch``: a training run followed, checkpoint by checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from infimm_eval.cli import parsing
from infimm_eval.cli.plan_options import plan_options, plan_request

if TYPE_CHECKING:
    from infimm_eval.cli.plan_options import Planned
    from infimm_eval.series.watch import WatchOptions

    class _Watch(Planned, WatchOptions):
        """What ``watch`` is called with."""

        output: Path


DONE, REGRESSION, INCOMPLETE = 0, 1, 3

_OWN_WAY = ("model", "output", "controls", "no_companions")
"""Options of a run that a watch has in its own way, or not."""

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("folder", type=_PATH)
@click.option("--output", type=_PATH, required=True, help="The folder of the series.")
@click.option("--baseline", type=_PATH, help="Compare with this run's folder or baseline file.")
@click.option("--best", is_flag=True, help="Compare each checkpoint with every earlier one.")
@click.option(
    "--planned",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="How many checkpoints are expected: the error rate is spread over them.",
)
@click.option(
    "--alpha",
    type=parsing.FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="How often a training in which nothing drops may raise any alarm at all.",
)
@click.option(
    "--tolerance",
    multiple=True,
    metavar="[TASK[@SHOTS]=]DROP",
    help="An allowed drop: 1.5 points, 2% of the baseline, coco=2, coco@4=0.5%.  Repeatable.",
)
@click.option(
    "--first",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure N samples of every new checkpoint first, the same ones, and the rest later.",
)
@click.option(
    "--stop-when-decided",
    is_flag=True,
    help="Ask only as many samples as a verdict against the baseline takes.",
)
@click.option("--newest-first", is_flag=True, help="The newest checkpoint before older ones.")
@click.option("--once", is_flag=True, help="Measure what is there now, and end.")
@click.option(
    "--until-step", type=click.IntRange(min=0), metavar="N", help="End when step N is measured."
)
@click.option("--gate", is_flag=True, help="Exit 1 at the first proven regression.")
@click.option(
    "--every",
    type=parsing.FiniteRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks at FOLDER.",
)
@click.option(
    "--track",
    multiple=True,
    type=click.Choice(["trackio", "wandb", "tensorboard", "mlflow"]),
    help="Give the figures to a tracker, too.  Repeatable.",
)
@click.option("--track-project", help="Its project; the name of --output if not given.")
@click.option(
    "--model",
    default="{checkpoint}",
    show_default=True,
    help="How a checkpoint is opened, where its folder alone does not tell: hf:{checkpoint}, or "
    "./file.py:NAME with --model-option weights={checkpoint}; {step} is its step.",
)
@plan_options(*_OWN_WAY)
@click.pass_context
def watch(ctx: click.Context, /, folder: Path, **given: Unpack[_Watch]) -> int:
    """Measure the checkpoints of a training run as they come; the same command again goes on.

    \b
    infimm-eval watch runs/mine --tasks coco,vqav2 --shots 0,4 --data DIR --output series/mine
        every checkpoint under runs/mine, until it is stopped
    infimm-eval watch runs/mine ... --baseline results/base --planned 40 --gate --once
        from cron or a batch script; exit 1 where a regression is proven
    infimm-eval watch runs/mine ... --first 200 --newest-first --track tensorboard
        a first figure of every checkpoint soon, the rest when there is time
    """
    if given["print_config"]:
        click.echo(parsing.as_config(ctx))
        return DONE
    from infimm_eval.run import bar
    from infimm_eval.series import watch as watching
    from infimm_eval.series.folder import first_regression
    from infimm_eval.series.follow import Watcher

    request = plan_request(ctx, given, *_OWN_WAY)
    listener = bar.Bar(given["quiet"])
    with watching.opened(given["output"], request, given, listener) as measuring:
        listener.say(f"watching {folder}, data {measuring.plan.data}, series {given['output']}")
        Watcher(folder, measuring, request.options, given, say=click.echo).follow()
        series = measuring.series
    listener.say(f"page: {given['output'] / 'index.html'}")
    regression = first_regression(series.points)
    if given["gate"] and regression is not None:
        rows = ", ".join(f"{a['task']} at {a['shots']} shots" for a in regression.alarms)
        click.echo(f"Regression at step {regression.step}: {rows}.")
        return REGRESSION
    unsure = [p.step for p in series.points for v in p.verdicts if v["verdict"] == "incomparable"]
    if given["gate"] and unsure:
        click.echo(f"Step {unsure[0]} cannot be compared: see {given['output'] / 'index.md'}")
        return INCOMPLETE
    if not series.skipped:
        return DONE
    if given["quiet"]:  # which hides progress, not the reason of an exit code
        click.echo("\n".join(listener.noted), err=True)
    return INCOMPLETE
