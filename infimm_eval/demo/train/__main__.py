"""Train the demo models: ``python -m infimm_eval.demo.train --output DIR``.

Three stages, as InfiMM's card has them, and one more; each leaves checkpoints in a folder of its
own, of which the last is the stage's result: ``in-context/`` makes ``demo``, ``instruction/``
``demo-chat``.
Knows the command line and the folders; the lessons are in ``courses`` and ``loop``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from infimm_eval.demo.train import loop, tiny
from infimm_eval.demo.train.courses import STAGES, Stage
from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the demo models and keep their checkpoints."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(prog="infimm_eval.demo.train", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder of checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="equal results need equal threads")
    parser.add_argument("--every", type=int, default=150, help="steps between checkpoints")
    parser.add_argument("--from-stage", choices=names, default=names[0], help="skip those before")
    parser.add_argument("--start", type=Path, help="the checkpoint that --from-stage goes on from")
    parser.add_argument("--to-stage", choices=names, default=names[-1], help="skip those after")
    given = parser.parse_args(arguments)
    stages = STAGES[names.index(given.from_stage) : names.index(given.to_stage) + 1]
    if (given.start is None) != (given.from_stage == names[0]) or not stages:
        parser.error("only a later --from-stage has a --start, and --to-stage comes after it")
    if given.every < 1 or given.threads < 1:
        parser.error("--every and --threads are whole numbers from 1")
    torch.set_num_threads(given.threads)
    try:
        loop.train(given.seed, Keeper(given.output, given.every), stages, given.start)
    except UsageError as error:
        parser.error(str(error))


class Keeper:
    """Saves a model every so many steps of a stage, and at its end, as ``STAGE/step-N``."""

    def __init__(self, output: Path, every: int) -> None:
        self._output, self._every = output, every

    def __call__(self, stage: Stage, steps: int, model: Flamingo, tokenizer: Tokenizer) -> None:
        """Told of every step."""
        last = steps == sum(course.steps for course in stage.courses)
        if not last and steps % self._every:
            return
        folder = self._output / stage.name / f"step-{steps}"
        unfinished = folder.with_name(f"{folder.name}.incomplete")
        tiny.save(model, tokenizer, unfinished, chat=stage.chat)
        unfinished.replace(folder)
        if last:
            print(f"{stage.name} ends in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
