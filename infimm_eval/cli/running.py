"""``run`` and ``rescore``: benchmarks on a model, and its answers scored again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import click

from infimm_eval.cli import completion, parsing

if TYPE_CHECKING:
    from infimm_eval.run.plan import Options

    class _Run(Options):
        """What ``run`` is called with."""

        config: Path | None
        tasks: tuple[str, ...]
        shots: tuple[int, ...]
        seed: tuple[int, ...]
        model: str
        data: str | None
        limit: int | None
        output: Path | None
        quiet: bool
        print_config: bool


DONE, INCOMPLETE = 0, 3

_OUTPUT = click.Path(path_type=Path)


@click.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=parsing.config,
    is_eager=True,
    help="A TOML file with any of these options, and [prompts.TASK] templates.",
)
@click.option(
    "--tasks",
    callback=parsing.words,
    metavar="NAMES",
    shell_complete=completion.complete_tasks,
    help="Benchmarks, comma-separated: names (see `tasks`), all, or the path of a plugin file.",
)
@click.option(
    "--shots",
    default="0",
    show_default=True,
    callback=parsing.numbers,
    metavar="N,N",
    help="How many examples stand before each question; a cell for each number.",
)
@click.option(
    "--model",
    default="demo",
    show_default=True,
    shell_complete=completion.complete_model,
    help="demo, demo-chat, a checkpoint folder or hub id, hf:ID, openai:NAME, or a model of your "
    "own: ./file.py[:NAME] or package.module:NAME (see `models`).",
)
@click.option(
    "--model-option",
    multiple=True,
    callback=parsing.pairs,
    metavar="KEY=VALUE",
    help="What the model's own class or function is called with.  Repeatable.",
)
@click.option(
    "--chat-template-option",
    multiple=True,
    callback=parsing.typed_pairs,
    metavar="KEY=VALUE",
    help="What the chat template is rendered with, e.g. enable_thinking=false.  Repeatable.",
)
@click.option(
    "--data",
    help="demo, hub, a folder, or hf:OWNER/NAME[/CONFIG][@REVISION] for a set that datasets opens; "
    "demo for the demo models, else hub.",
)
@click.option("--revision", help="The hub commit of the data to pin.")
@click.option("--model-revision", help="The hub commit of the model to pin.")
@click.option("--limit", type=click.IntRange(min=1), help="The first N samples only; marked so.")
@click.option(
    "--seed",
    default="0",
    show_default=True,
    callback=parsing.numbers,
    metavar="N,N",
    help="What shots are drawn by; a cell for each number, and their mean.",
)
@click.option(
    "--support",
    default="random",
    show_default=True,
    metavar="KIND",
    help="Which shots: random (drawn for each question), fixed (the same for all), rices (nearest "
    "pictures), text (nearest questions), mmices (both), oracle (shares the answer: an upper "
    "bound), file:PATH.",
)
@click.option(
    "--distinct-pictures", is_flag=True, help="No picture in two shots of the same prompt."
)
@click.option(
    "--nearest-last", is_flag=True, help="mmices: the most similar shot next to the question, too."
)
@click.option(
    "--retrieval-model",
    metavar="NAME",
    help="What compares pictures and questions: open_clip:NAME@FILE, open_clip:NAME/TAG, or own "
    "(the model's own eyes; the default).",
)
@click.option(
    "--retrieval-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where features are kept for later runs; ~/.cache/infimm_eval/features if not given.",
)
@click.option(
    "--controls",
    callback=parsing.words,
    metavar="NAMES",
    help="Ask again with shots or query changed, to see what the shots teach: all, blind, or names "
    "(docs/in-context.md).",
)
@click.option(
    "--zero-shot-demos",
    type=click.IntRange(min=0),
    help="Text-only examples at 0 shots; 2 for completion, 0 for instruct.",
)
@click.option(
    "--prompt-style",
    type=click.Choice(["completion", "instruct"]),
    help="A text to continue, or a conversation; the model's own if not given.",
)
@click.option(
    "--prompt-format",
    type=click.Choice(["infimm", "openflamingo", "openflamingo-2023-06", "otter", "idefics"]),
    help="How a family was asked by those who published it; the model's own if not given.",
)
@click.option(
    "--choice",
    type=click.Choice(["generate", "rank"]),
    default="generate",
    show_default=True,
    help="How multiple choice is asked: by generation or by log-likelihood.",
)
@click.option("--ocr", is_flag=True, help="Put OCR tokens into TextVQA's questions; marked so.")
@click.option(
    "--max-new-tokens",
    multiple=True,
    callback=parsing.limits,
    metavar="[TASK=]N",
    help="Another limit of an answer than the benchmark's own, e.g. for reasoning.  Repeatable.",
)
@click.option(
    "--keep-thinking", is_flag=True, help="Score what a reasoning model thinks aloud, too."
)
@click.option(
    "--no-companions", is_flag=True, help="Leave out figures beside the headline, such as METEOR."
)
@click.option(
    "--scorer",
    "--ruler",
    "scorer",
    multiple=True,
    callback=parsing.by_task,
    metavar="TASK=NAME",
    help="Another scorer for the headline, e.g. textvqa=official (see `tasks`).",
)
@click.option("--judge", help="The model that grades MM-Vet and InfiMM-Eval, e.g. openai:NAME.")
@click.option(
    "--judge-runs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How often the judge grades each answer; the mean counts.",
)
@click.option(
    "--judge-base-url",
    help="Where the judge answers, if not at --base-url; its key: JUDGE_API_KEY.",
)
@click.option(
    "--base-url",
    help="Where openai: models answer, e.g. http://127.0.0.1:8000/v1; several with commas.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="For a whole reply of an openai: model or judge; 300 if not given.",
)
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    callback=parsing.batch,
    metavar="N|auto",
    help="Questions asked together; auto measures what memory holds.",
)
@click.option(
    "--check-batching",
    type=click.IntRange(min=0),
    default=0,
    help="Ask N samples again, each alone, and report answers that differ.",
)
@click.option(
    "--samples-shown",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Samples of each cell whose pictures are kept small, for the report to show.",
)
@click.option(
    "--picture-cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder that keeps encoded pictures for later runs of the same weights.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda or cuda:N; auto takes an accelerator where there is one.",
)
@click.option("--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16.")
@click.option(
    "--device-map",
    type=click.Choice(["auto"]),
    help="Spread the layers of an hf: model over all accelerators (needs accelerate).",
)
@click.option(
    "--quantization",
    type=click.Choice(["4bit", "8bit"]),
    help="Weights of an hf: model in so many bits (needs bitsandbytes).",
)
@click.option(
    "--workers",
    callback=parsing.workers,
    metavar="N|auto",
    help="So many replicas of the model answer side by side; auto: one an accelerator (needs ray).",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="They run on the Ray cluster whose head is at HOST:PORT, not on this machine.",
)
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(min=0),
    metavar="G",
    help="Accelerators of each; one, where there are any, if not given.",
)
@click.option(
    "--wait-for-workers",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="So long a run waits when no worker is left; 300 if not given.",
)
@click.option("--output", type=_OUTPUT, help="Default: results/<model>.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@click.option(
    "--print-config",
    is_flag=True,
    help="Print these options as a file for --config, and run nothing.",
)
@click.pass_context
def run(ctx: click.Context, /, **given: Unpack[_Run]) -> int:
    """Run benchmarks on a model; the same command again continues.

    \b
    infimm-eval --tasks coco,vqav2 --shots 0,4
        the demo model on the demo data
    infimm-eval --model FOLDER --tasks all --data DIR --output results/mine
        a checkpoint on files in the official layouts, zero-shot
    infimm-eval --model hf:ID --tasks textvqa --limit 50 --batch-size 8
        fifty samples of one benchmark, with a model of the transformers library
    infimm-eval --model openai:NAME --base-url http://127.0.0.1:8000/v1 --tasks okvqa
        a served model
    """
    if given["print_config"]:
        click.echo(parsing.as_config(ctx))
        return DONE
    from infimm_eval import report
    from infimm_eval.run import PlanRequest, bar, evaluate
    from infimm_eval.run import run as run_plan

    options = cast("Options", {**given, "prompts": ctx.obj or {}})
    request = PlanRequest(
        tasks=given["tasks"],
        shots=given["shots"],
        seeds=given["seed"],
        data=given["data"],
        limit=given["limit"],
        options=options,
    )
    listener = bar.Bar(given["quiet"])
    plan, model = evaluate.prepare(given["model"], request, listener)
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
