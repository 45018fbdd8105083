"""``plan``: how many samples a benchmark needs to show a drop, and what they would cost."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from infimm_eval.cli.parsing import foreign_options

if TYPE_CHECKING:
    from infimm_eval.compare.plans import Seconds
    from infimm_eval.run.foreign import Reading

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=_FILE)
@click.argument("second", type=_FILE, required=False)
@click.option(
    "--drop",
    multiple=True,
    required=True,
    metavar="[TASK[@SHOTS]=]POINTS",
    help="The drop to be seen: 1.5 points, 2% of the run's figure, coco=2, coco@4=3%.  Repeatable.",
)
@click.option(
    "--power", default=0.9, show_default=True, help="How often a run should see it, 0.5 to below 1."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout, nothing else.")
@foreign_options
@click.pass_context
def plan(
    ctx: click.Context,
    run: Path,
    second: Path | None,
    drop: tuple[str, ...],
    power: float,
    as_json: bool,
    reading: Reading,
) -> None:
    """Plan the samples that show a drop, from RUN (or a baseline file) and a SECOND run like it.

    Two runs of one family tell how far runs agree, and give a number; one alone gives a range.

    \b
    infimm-eval plan results/step-1000 results/step-2000 --drop 2
    infimm-eval plan baseline.json --drop 1% --drop coco=3 --power 0.8
    """
    from infimm_eval import compare as comparing
    from infimm_eval.compare import plans as planning
    from infimm_eval.run.foreign import as_runs

    drops = comparing.Tolerances().updated(drop, "drop")
    note = partial(click.echo, err=True)
    paths = [run, *([second] if second else [])]
    first, *pair = ctx.with_resource(as_runs(paths, reading, note))
    rows = planning.plans(
        comparing.load(first),
        comparing.load(pair[0]) if pair else None,
        drops,
        power=power,
        seconds=_seconds(first),
    )
    if as_json:
        click.echo(json.dumps(planning.as_json(rows)))
        return
    for row in rows:
        click.echo(planning.sentence(row))
    if all(row.each is None for row in rows):
        click.echo("no times: a baseline or another harness's log does not keep them", err=True)


def _seconds(path: Path) -> Seconds:
    """What asking each cell of a run folder took; a baseline file does not know."""
    from infimm_eval import logs

    folder = path.parent if path.name == logs.FILE else path
    spent: dict[tuple[str, int, int, str, str], float] = {}
    if folder.is_dir():
        for cell in logs.read(folder):
            spent[cell.key.spot] = cell.seconds
    return lambda cell: spent.get(
        (cell.task, cell.shots, cell.seed, cell.control or "", cell.support or "")
    )
