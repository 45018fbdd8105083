"""``score`` and ``submit``: other people's files in, leaderboards' files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from infimm_eval.scoring import Result

_PATH = click.Path(exists=True, path_type=Path)


@click.command()
@click.option("--task", required=True, help="Whose rules to score by, e.g. vqav2.")
@click.option("--predictions", required=True, type=_PATH, help="The official results format.")
@click.option(
    "--references",
    type=click.Path(path_type=Path),
    help="A data folder, demo, hub or the authors' answer file; none where the results carry it.",
)
@click.option("--variant", help="One of the task's rulers (see `tasks`); default the first.")
@click.option("--allow-partial", is_flag=True, help="Score what is there of an incomplete file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
def score(
    task: str,
    predictions: Path,
    references: Path | None,
    variant: str | None,
    allow_partial: bool,
    as_json: bool,
) -> None:
    """Score a predictions file that anybody wrote; no model is needed."""
    from infimm_eval import registry, scoring

    result = scoring.score(
        registry.load(task), predictions, references, variant, allow_partial=allow_partial
    )
    if as_json:
        click.echo(json.dumps(result.as_json(), ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(result)))


def _lines(result: Result) -> list[str]:
    """Every figure of a result, a line each."""
    head = f"{result.task} ({result.variant}), n = {result.n:,}"
    troubles = {
        "questions without a prediction": result.without_prediction,
        "predictions without a question": result.without_reference,
        "unscored": result.unscored,
        "without a readable answer": result.unparsed,
    }
    told = [f"{count:,} {what}" for what, count in troubles.items() if count]
    lines = [", ".join([head, *told])]
    lines += [f"  {name:<28} {value:9.3f}" for name, value in result.summary.metrics.items()]
    for by, groups in result.summary.breakdown.items():
        if not groups:
            continue
        lines.append(f"  by {by}")
        lines += [f"    {name:<26} {value:9.3f}" for name, value in groups.items()]
    return lines


@click.command()
@click.argument("run", type=_PATH)
@click.option("--task", required=True, help="Which benchmark, e.g. vqav2 or vqav2:test2015.")
@click.option("--output", type=click.Path(path_type=Path), help="Default: RUN/submissions/.")
@click.option("--shots", type=int, help="Which cell, where the run has several.")
@click.option("--seed", type=int)
@click.option("--allow-partial", is_flag=True, help='Fill what is missing with "".')
@click.option("--data", help="Where the split lies, to know all of its ids for --allow-partial.")
def submit(
    run: Path,
    task: str,
    output: Path | None,
    shots: int | None,
    seed: int | None,
    allow_partial: bool,
    data: str | None,
) -> None:
    """Write and validate a leaderboard's file from a finished run."""
    from infimm_eval import registry
    from infimm_eval import submit as submission

    path, count, empty = submission.submit(
        registry.load(task),
        run,
        output,
        shots=shots,
        seed=seed,
        allow_partial=allow_partial,
        place=data,
    )
    filled = f", {empty:,} of them empty" if empty else ""
    click.echo(f"{path}: {count:,} answers{filled}")
