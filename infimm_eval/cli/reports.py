"""``report`` and ``show``: finished runs for people to read."""

from __future__ import annotations

from pathlib import Path

import click

from infimm_eval.cli.completion import complete_task

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_RUN)
@click.option("--output", type=_RUN, help="Default: the first run's folder.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Samples of each cell that the page shows.",
)
def report(runs: tuple[Path, ...], output: Path | None, samples: int) -> None:
    """Write report.md and report.html from finished runs.

    \b
    infimm-eval report results/mine results/theirs --output results/both
        two models in one table, beside the published figures
    """
    from infimm_eval import report

    for path in report.write(list(runs), output or runs[0], samples=samples):
        click.echo(path)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--task", shell_complete=complete_task, help="Samples of this benchmark only.")
@click.option("--shots", type=int, help="Samples of cells with so many shots only.")
@click.option("--score", help="right, partial, wrong or unscored.")
@click.option("--id", "sample", help="The sample of this id.")
@click.option("--search", help="A text in the question, the answer or the references.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="So many samples at most.",
)
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
    """Print samples of a run: what was asked, said, read and scored.

    \b
    infimm-eval show results/mine --task vqav2 --shots 4 --score wrong
    infimm-eval show results/mine --id 262148000 --prompt
    """
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
