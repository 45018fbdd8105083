"""``report`` and ``show``: finished runs for people to read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from infimm_eval.cli import parsing
from infimm_eval.cli.completion import complete_task
from infimm_eval.cli.parsing import foreign_options

if TYPE_CHECKING:
    from infimm_eval.run.foreign import Reading

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("runs", nargs=-1, required=True, type=_RUN)
@click.option("--output", type=_RUN, help="Default: the first run's folder.")
@click.option(
    "--samples",
    default="200",
    show_default=True,
    metavar="N|all",
    callback=parsing.samples,
    help="Samples that the page shows, over all benchmarks; all: from a folder beside it.",
)
@click.option(
    "--published",
    default="auto",
    show_default=True,
    metavar="NAMES",
    help="Published systems in the tables: those of the runs' families (auto), all, none, or names "
    "of models and families, comma-separated.",
)
@foreign_options
def report(
    runs: tuple[Path, ...],
    output: Path | None,
    samples: int | None,
    published: str,
    reading: Reading,
) -> None:
    """Write report.md and report.html from finished runs, or from logs of other harnesses.

    \b
    infimm-eval report results/mine results/theirs --output results/both
        two models in one table, beside the published figures
    infimm-eval report results/mine --published IDEFICS
        beside the figures of one family
    infimm-eval report results/mine --samples all
        with every sample, from the folder report-samples beside the page
    """
    from infimm_eval import report
    from infimm_eval.run.foreign import as_runs

    place = output or (runs[0].parent if runs[0].is_file() else runs[0])
    with as_runs(runs, reading, partial(click.echo, err=True)) as folders:
        for path in report.write(folders, place, samples=samples, published=published):
            click.echo(path)


@click.command()
@click.argument("run", type=_RUN)
@click.option("--task", shell_complete=complete_task, help="This benchmark only.")
@click.option("--shots", type=int, help="Cells with so many shots only.")
@click.option("--tasks", callback=parsing.words, metavar="FILES", help="Tasks of your own.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "latex"]),
    default="text",
    show_default=True,
    help="Plain text, or tables for scripts and papers.",
)
@click.option(
    "--language-model",
    type=_RUN,
    help="A run of the bare language model: multi-modal leakage beside it.",
)
def icl(
    run: Path,
    task: str | None,
    shots: int | None,
    tasks: tuple[str, ...],
    form: str,
    language_model: Path | None,
) -> None:
    """Say what the shots taught, from a run with --controls: no model, no data.

    \b
    infimm-eval icl results/mine
    infimm-eval icl results/mine --task vqav2 --shots 4 --format latex
    """
    from infimm_eval import report

    said = report.taught(
        run, task=task, shots=shots, tasks=tasks, form=form, language_model=language_model
    )
    click.echo(said)


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
