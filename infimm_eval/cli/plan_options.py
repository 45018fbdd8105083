"""The options of a run, which all verbs that run benchmarks share, and the plan they ask for.

Knows no verb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from infimm_eval.cli import completion, parsing

if TYPE_CHECKING:
    from infimm_eval.run import PlanRequest
    from infimm_eval.run.plan import Options

    class Planned(Options):
        """What such a verb is called with."""

        config: Path | None
        tasks: tuple[str, ...]
        shots: tuple[int, ...]
        seed: tuple[int, ...]
        data: str | None
        limit: int | None
        quiet: bool
        print_config: bool


def plan_options(*without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a run on a command, but for those, by their names in Python, that it goes
    ``without`` or has in a way of its own."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, option in reversed(list(_OPTIONS.items())):
            command = command if name in without else option(command)
        return command

    return add


def plan_request(ctx: click.Context, given: Mapping[str, Any], *without: str) -> PlanRequest:
    """What the options of a run ask for, in all that a command was called with."""
    from infimm_eval.run import PlanRequest

    of_run = {name: given[name] for name in _OPTIONS if name not in without}
    return PlanRequest(
        tasks=given["tasks"],
        shots=given["shots"],
        seeds=given["seed"],
        data=given["data"],
        limit=given["limit"],
        options=cast("Options", {**of_run, "prompts": ctx.obj or {}}),
    )


_OPTIONS: Mapping[str, Callable[..., Any]] = {
    "config": click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=parsing.config,
        is_eager=True,
        help="A TOML file with any of these options, and [prompts.TASK] templates.",
    ),
    "tasks": click.option(
        "--tasks",
        callback=parsing.words,
        metavar="NAMES",
        shell_complete=completion.complete_tasks,
        help="Benchmarks, comma-separated: names (see `tasks`), all, or the path of a plugin file.",
    ),
    "shots": click.option(
        "--shots",
        default="0",
        show_default=True,
        callback=parsing.numbers,
        metavar="N,N",
        help="How many examples stand before each question; a cell for each number.",
    ),
    "model": click.option(
        "--model",
        default="demo",
        show_default=True,
        shell_complete=completion.complete_model,
        help="demo, demo-chat, a checkpoint folder or hub id, hf:ID, openai:NAME, or a model of "
        "your own: ./file.py[:NAME] or package.module:NAME (see `models`).",
    ),
    "model_option": click.option(
        "--model-option",
        multiple=True,
        callback=parsing.pairs,
        metavar="KEY=VALUE",
        help="What the model's own class or function is called with.  Repeatable.",
    ),
    "chat_template_option": click.option(
        "--chat-template-option",
        multiple=True,
        callback=parsing.typed_pairs,
        metavar="KEY=VALUE",
        help="What the chat template is rendered with, e.g. enable_thinking=false.  Repeatable.",
    ),
    "data": click.option(
        "--data",
        help="demo, hub, a folder, or hf:OWNER/NAME[/CONFIG][@REVISION] for a set that datasets "
        "opens; demo for the demo models, else hub.",
    ),
    "revision": click.option("--revision", help="The hub commit of the data to pin."),
    "model_revision": click.option("--model-revision", help="The hub commit of the model to pin."),
    "limit": click.option(
        "--limit", type=click.IntRange(min=1), help="The first N samples only; marked so."
    ),
    "seed": click.option(
        "--seed",
        default="0",
        show_default=True,
        callback=parsing.numbers,
        metavar="N,N",
        help="What shots are drawn by; a cell for each number, and their mean.",
    ),
    "support": click.option(
        "--support",
        default="random",
        show_default=True,
        metavar="KIND",
        help="Which shots: random (drawn for each question), fixed (the same for all), rices "
        "(nearest pictures), text (nearest questions), mmices (both), oracle (shares the answer: "
        "an upper bound), file:PATH.",
    ),
    "distinct_pictures": click.option(
        "--distinct-pictures", is_flag=True, help="No picture in two shots of the same prompt."
    ),
    "nearest_last": click.option(
        "--nearest-last",
        is_flag=True,
        help="mmices: the most similar shot next to the question, too.",
    ),
    "retrieval_model": click.option(
        "--retrieval-model",
        metavar="NAME",
        help="What compares pictures and questions: open_clip:NAME@FILE, open_clip:NAME/TAG, or "
        "own (the model's own eyes; the default).",
    ),
    "retrieval_cache": click.option(
        "--retrieval-cache",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where features are kept for later runs; ~/.cache/infimm_eval/features if not given.",
    ),
    "controls": click.option(
        "--controls",
        callback=parsing.words,
        metavar="NAMES",
        help="Ask again with shots or query changed, to see what the shots teach: all, blind, or "
        "names (docs/in-context.md).",
    ),
    "zero_shot_demos": click.option(
        "--zero-shot-demos",
        type=click.IntRange(min=0),
        help="Text-only examples at 0 shots; 2 for completion, 0 for instruct.",
    ),
    "prompt_style": click.option(
        "--prompt-style",
        type=click.Choice(["completion", "instruct"]),
        help="A text to continue, or a conversation; the model's own if not given.",
    ),
    "prompt_format": click.option(
        "--prompt-format",
        type=click.Choice(["infimm", "openflamingo", "openflamingo-2023-06", "otter", "idefics"]),
        help="How a family was asked by those who published it; the model's own if not given.",
    ),
    "choice": click.option(
        "--choice",
        type=click.Choice(["generate", "rank"]),
        default="generate",
        show_default=True,
        help="How multiple choice is asked: by generation or by log-likelihood.",
    ),
    "ocr": click.option(
        "--ocr", is_flag=True, help="Put OCR tokens into TextVQA's questions; marked so."
    ),
    "max_new_tokens": click.option(
        "--max-new-tokens",
        multiple=True,
        callback=parsing.limits,
        metavar="[TASK=]N",
        help="Another limit of an answer than the benchmark's own, e.g. for reasoning.  "
        "Repeatable.",
    ),
    "keep_thinking": click.option(
        "--keep-thinking", is_flag=True, help="Score what a reasoning model thinks aloud, too."
    ),
    "no_companions": click.option(
        "--no-companions",
        is_flag=True,
        help="Leave out figures beside the headline, such as METEOR.",
    ),
    "scorer": click.option(
        "--scorer",
        "--ruler",
        "scorer",
        multiple=True,
        callback=parsing.by_task,
        metavar="TASK=NAME",
        help="Another scorer for the headline, e.g. textvqa=official (see `tasks`).",
    ),
    "judge": click.option(
        "--judge", help="The model that grades MM-Vet and InfiMM-Eval, e.g. openai:NAME."
    ),
    "judge_runs": click.option(
        "--judge-runs",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="How often the judge grades each answer; the mean counts.",
    ),
    "judge_base_url": click.option(
        "--judge-base-url",
        help="Where the judge answers, if not at --base-url; its key: JUDGE_API_KEY.",
    ),
    "base_url": click.option(
        "--base-url",
        help="Where openai: models answer, e.g. http://127.0.0.1:8000/v1; several with commas.",
    ),
    "timeout": click.option(
        "--timeout",
        type=parsing.FiniteRange(min=0, min_open=True),
        metavar="SECONDS",
        help="For a whole reply of an openai: model or judge; 300 if not given.",
    ),
    "batch_size": click.option(
        "--batch-size",
        default="auto",
        show_default=True,
        callback=parsing.batch,
        metavar="N|auto",
        help="Questions asked together; auto measures what memory holds.",
    ),
    "check_batching": click.option(
        "--check-batching",
        type=click.IntRange(min=0),
        default=0,
        help="Ask N samples again, each alone, and report answers that differ.",
    ),
    "samples_shown": click.option(
        "--samples-shown",
        type=click.IntRange(min=0),
        default=200,
        show_default=True,
        help="Samples of each cell whose pictures are kept small, for the report to show.",
    ),
    "picture_cache": click.option(
        "--picture-cache",
        type=click.Path(file_okay=False, path_type=Path),
        help="A folder that keeps encoded pictures for later runs of the same weights.",
    ),
    "device": click.option(
        "--device",
        default="auto",
        show_default=True,
        help="cpu, cuda or cuda:N; auto takes an accelerator where there is one.",
    ),
    "dtype": click.option(
        "--dtype", default="auto", show_default=True, help="float32, bfloat16 or float16."
    ),
    "device_map": click.option(
        "--device-map",
        type=click.Choice(["auto"]),
        help="Spread the layers of an hf: model over all accelerators (needs accelerate).",
    ),
    "quantization": click.option(
        "--quantization",
        type=click.Choice(["4bit", "8bit"]),
        help="Weights of an hf: model in so many bits (needs bitsandbytes).",
    ),
    "workers": click.option(
        "--workers",
        callback=parsing.workers,
        metavar="N|auto",
        help="So many replicas of the model answer side by side; auto: one an "
        "accelerator (needs ray).",
    ),
    "ray": click.option(
        "--ray",
        metavar="ADDRESS",
        help="They run on the Ray cluster whose head is at HOST:PORT, not on this machine.",
    ),
    "gpus_per_worker": click.option(
        "--gpus-per-worker",
        type=parsing.FiniteRange(min=0),
        metavar="G",
        help="Accelerators of each; one, where there are any, if not given.",
    ),
    "wait_for_workers": click.option(
        "--wait-for-workers",
        type=parsing.FiniteRange(min=0),
        metavar="SECONDS",
        help="So long a run waits when no worker is left; 300 if not given.",
    ),
    "output": click.option(
        "--output", type=click.Path(path_type=Path), help="Default: results/<model>."
    ),
    "quiet": click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
    "print_config": click.option(
        "--print-config",
        is_flag=True,
        help="Print these options as a file for --config, and run nothing.",
    ),
}
