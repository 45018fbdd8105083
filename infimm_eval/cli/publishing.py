"""``publish``: a finished run in other people's formats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from infimm_eval.cli.parsing import write
from infimm_eval.errors import UsageError

if TYPE_CHECKING:
    from infimm_eval import logs
    from infimm_eval.logs.publish import Published

_FORMATS = ("hf", "eee", "inspect", "junit", "csv", "latex", "parquet")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format",
    type=click.Choice(_FORMATS),
    required=True,
    help="The hub's evaluation results, Every Eval Ever, Inspect's log, or a file.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Default: RUN/published/FORMAT.")
@click.option(
    "--dataset-id",
    "datasets",
    multiple=True,
    metavar="[TASK[@SHOTS]=]ID",
    help="hf: the dataset that the hub's benchmark is.  Repeatable.",
)
@click.option(
    "--task-id",
    "tasks",
    multiple=True,
    metavar="[TASK[@SHOTS]=]ID",
    help="hf: the benchmark's task.  Repeatable.",
)
def publish(
    run: Path, format: str, output: Path | None, datasets: tuple[str, ...], tasks: tuple[str, ...]
) -> None:
    """Write RUN as others read it: for the hub, Every Eval Ever, Inspect, a CI server, a paper.

    Nothing is sent anywhere: the command that would is printed.  Secrets and paths of this
    machine are taken off.

    \b
    infimm-eval publish results/mine --to latex
    infimm-eval publish results/mine --to hf --dataset-id vqav2=OWNER/NAME --task-id vqav2=ID
    """
    from infimm_eval.logs import Log

    place = output or run / "published" / format
    with Log(run) as log:
        if not log.shown():
            raise UsageError(f"{run} has no finished cell; run it to the end first")
        made = _written(log, format, place, datasets, tasks)
    for path in made.files:
        click.echo(path)
    for note in made.notes:
        click.echo(note, err=True)
    if made.command:
        click.echo(f"nothing was sent; to go on: {made.command}", err=True)


def _written(
    log: logs.Log, format: str, place: Path, datasets: tuple[str, ...], tasks: tuple[str, ...]
) -> Published:
    from infimm_eval import report
    from infimm_eval.logs import publish

    if format == "hf":
        return publish.hf(log, place, publish.Ids(datasets=_ids(datasets), tasks=_ids(tasks)))
    if datasets or tasks:
        raise UsageError(f"--dataset-id and --task-id are for --to hf, not {format}")
    if format == "latex":
        path = place / "tables.tex"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, report.latex([log.folder]).encode())
        return publish.Published(files=(path,))
    writers = {
        "eee": publish.eee,
        "inspect": publish.inspect,
        "junit": publish.junit,
        "csv": publish.csv,
        "parquet": publish.parquet,
    }
    return writers[format](log, place)


def _ids(given: tuple[str, ...]) -> dict[str, str]:
    """``TASK[@SHOTS]=ID`` by task, ``ID`` by nothing."""
    pairs = (text.rpartition("=") for text in given)
    return {name.strip(): id.strip() for name, _, id in pairs}
