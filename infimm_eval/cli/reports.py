"""``report`` and ``show``: finished runs for people to read."""

from __future__ import annotations

from pathlib import Path

import click

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_RUN)
@click.option("--output", type=_RUN, help="Default: the first run's folder.")
@click.option("--samples", type=click.IntRange(min=0), default=200, show_default=True)
@click.option(
    "--published",
    default="auto",
    show_default=True,
    metavar="NAMES",
    help="Published systems in the tables: those of the runs' families (auto), all, none, or names "
    "of models and families, comma-separated.",
)
def report(runs: tuple[Path, ...], output: Path | None, samples: int, published: str) -> None:
    """Write report.md and report.html from finished runs."""
    from infimm_eval import report

    written = report.write(list(runs), output or runs[0], samples=samples, published=published)
    for path in written:
        click.echo(path)


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
