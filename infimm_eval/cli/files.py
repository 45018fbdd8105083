"""``score`` and ``submit``: other people's files in, leaderboards' files out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from infimm_eval.cli.completion import complete_task
from infimm_eval.cli.parsing import foreign_options
from infimm_eval.errors import UsageError
from infimm_eval.texts import natural

if TYPE_CHECKING:
    from infimm_eval.run.foreign import ForeignResult, Reading
    from infimm_eval.run.score_file import How, Result

_PATH = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("file", required=False, type=_PATH)
@foreign_options
@click.option("--predictions", type=_PATH, help="FILE, as it was called before.")
@click.option(
    "--scorer", "--variant", "scorer", help="One of the task's (see `tasks`); default the first."
)
@click.option("--judge", help="Grades answers of MM-Vet and InfiMM-Eval, e.g. openai:NAME.")
@click.option("--judge-base-url", help="Where an openai: judge answers.")
@click.option("--allow-partial", is_flag=True, help="Score what is there of an incomplete file.")
@click.option(
    "--keep-thinking", is_flag=True, help="Score what a reasoning model thinks aloud, too."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
def score(
    file: Path | None,
    reading: Reading,
    predictions: Path | None,
    scorer: str | None,
    judge: str | None,
    judge_base_url: str | None,
    allow_partial: bool,
    keep_thinking: bool,
    as_json: bool,
) -> None:
    """Score a predictions file that anybody wrote, or a log of another harness; no model is needed.

    \b
    infimm-eval score answers.json --task vqav2 --references DIR
        a leaderboard's file against official annotations
    infimm-eval score captions.json --task coco --references DIR --json
        one JSON object, for a script
    infimm-eval score samples_vqav2.jsonl --references DIR
        another harness's log, which names the task
    """
    from infimm_eval.run.evaluate import load_judge
    from infimm_eval.run.model_graded import InMemory, Judge
    from infimm_eval.run.score_file import How
    from infimm_eval.run.thinking import without_thinking

    path = file or predictions
    if path is None or (file and predictions):
        raise UsageError("name one predictions file: score FILE --task TASK")
    grader = load_judge({"judge": judge, "judge_base_url": judge_base_url})
    how = How(
        scorer=scorer,
        allow_partial=allow_partial,
        read=str if keep_thinking else without_thinking,
        judge=None if grader is None else Judge(grader, InMemory()),
        note=lambda text: click.echo(text, err=True),
    )
    result = _score(path, reading, how)
    if as_json:
        click.echo(json.dumps(result.as_json(), ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(result)))


def _score(path: Path, reading: Reading, how: How) -> Result:
    """By the rules of the task's results file, or, of another harness's log, beside its scores."""
    from infimm_eval import registry
    from infimm_eval.logs.foreign import open_foreign
    from infimm_eval.run import foreign
    from infimm_eval.run.score_file import score_file

    log = open_foreign(path)
    if log is not None:
        return foreign.score(log, reading, how)
    if reading.task is None:
        raise UsageError(f"{path} does not say whose answers it holds; name it by --task TASK")
    return score_file(registry.load(reading.task), path, reading.references, how)


def _lines(result: Result) -> list[str]:
    """Every figure of a result, a line each."""
    head = f"{result.task} ({result.scorer}), n = {result.n:,}"
    troubles = {
        "questions without a prediction": result.without_prediction,
        "predictions without a question": result.without_reference,
        "unscored": result.unscored,
        "without a readable answer": result.unparsed,
    }
    told = [f"{count:,} {what}" for what, count in troubles.items() if count]
    head += f", read from {result.field}" if result.field else ""
    lines = [", ".join([head, *told])]
    lines += [f"  {name:<28} {value:9.3f}" for name, value in result.summary.metrics.items()]
    for by, groups in result.summary.breakdown.items():
        if not groups:
            continue
        lines.append(f"  by {by}")
        named = sorted(groups.items(), key=lambda group: natural(group[0]))
        lines += [f"    {name:<26} {value:9.3f}" for name, value in named]
    return lines + list(_beside(result))


def _beside(result: Result | ForeignResult) -> Iterator[str]:
    """What another harness says of the same answers, and why."""
    theirs = getattr(result, "theirs", None) or {}
    if theirs:
        yield f"  {result.headline} by {getattr(result, 'tool', '')}"
    yield from (f"    {name:<26} {value:9.3f}" for name, value in theirs.items())
    yield from (f"  {reason}" for reason in getattr(result, "reasons", ()))


@click.command()
@click.argument("run", type=_PATH)
@click.option(
    "--task",
    required=True,
    shell_complete=complete_task,
    help="Which benchmark, e.g. vqav2 or vqav2:test2015.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Default: RUN/submissions/.")
@click.option("--shots", type=int, help="Which cell, where the run has several.")
@click.option("--seed", type=int, help="Which cell, where the run has several seeds.")
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
    """Write and validate a leaderboard's file from a finished run.

    \b
    infimm-eval submit results/mine --task vqav2:test2015
    infimm-eval submit results/mine --task vizwiz --output vizwiz.json
    """
    from infimm_eval import registry
    from infimm_eval.run import submit as submission

    path, count, empty = submission.submit(
        registry.load(task),
        run,
        output,
        shots=shots,
        seed=seed,
        allow_partial=allow_partial,
        place=data,
        note=lambda text: click.echo(text, err=True),
    )
    filled = f", {empty:,} of them empty" if empty else ""
    click.echo(f"{path}: {count:,} answers{filled}")
