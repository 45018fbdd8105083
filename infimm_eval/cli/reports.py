"""``report`` and ``show``: finished runs for people to read."""

from __future__ import annotations

from pathlib import Path

import click

from infimm_eval.cli import parsing

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_RUN)
@click.option("--output", type=_RUN, help="Default: the first run's folder.")
@click.option("--samples", type=click.IntRange(min=0), default=200, show_default=True)
def report(runs: tuple[Path, ...], output: Path | None, samples: int) -> None:
    """Write report.md and report.html from finished runs."""
    from infimm_eval import report

    for path in report.write(list(runs), output or runs[0], samples=samples):
        click.echo(path)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--task", help="This benchmark only.")
@click.option("--shots", type=int)
@click.option("--tasks", callback=parsing.words, metavar="FILES", help="Tasks of your own.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "latex"]),
    default="text",
    show_default=True,
)
def icl(run: Path, task: str | None, shots: int | None, tasks: tuple[str, ...], form: str) -> None:
    """Say what the shots taught, from a run with --controls: no model, no data."""
    from infimm_eval import report

    click.echo(report.taught(run, task=task, shots=shots, tasks=tasks, form=form))


@click.command()
@click.argument("run", type=_RUN)
@click.option("--task", help="Samples of this benchmark only.")
@click.option("--shots", type=int)
@click.option("--score", help="right, partial, wrong or unscored.")
@click.option("--id", "sample", help="The sample of this id.")
@click.option("--search", help="A text in the question, the answer or the references.")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True)
@click.option("--prompt", is_flag=True, help="Also the prompt as the model saw it.")
def show(
    run: Path,
    task: str | None,
    shots: int | None,
    score: str | None,
    sample: str | None,
    search: str | None,
    limit: int,
    prompt: bool,
) -> None:
    """Print samples of a run: what was asked, said, read and scored."""
    from infimm_eval import report

    found = report.show(
        run,
        task=task,
        shots=shots,
        score=score,
        id=sample,
        search=search,
        limit=limit,
        prompt=prompt,
    )
    for block in found:
        click.echo(block + "\n")
