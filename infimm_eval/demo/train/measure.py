"""Score a checkpoint on the demo benchmarks: ``python -m infimm_eval.demo.train.measure DIR``.

Runs the program itself: with the pictures, with black ones in their place, and with the best
constant answers instead of a model.  Writes the figures to ``DIR/scores.json``; computes none.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from PIL import Image as Pillow

from infimm_eval import models, registry
from infimm_eval.demo.rows import vqa_rows
from infimm_eval.demo.scenes import SIDE
from infimm_eval.models.fake import Fake
from infimm_eval.run import Plan, ProgressListener
from infimm_eval.run import run as run_plan
from infimm_eval.scorers import caption
from infimm_eval.types import Answer, Image, Model, Request

TASKS = ("coco", "vqav2", "open_mi")
SHOTS = (0, 4)
CHAT_TASKS = ("mme", "mmbench", "scienceqa", "mmmu")
"""What a model that is spoken to in turns is measured on, zero-shot."""
CONSTANTS = 12
"""How many of the most common targets of the train split are tried as constant answers."""
CHAT_CONSTANTS = {"mme": ("yes", "no")} | dict.fromkeys(CHAT_TASKS[1:], ("A", "B", "C", "D"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a checkpoint and write its scores beside it."""
    parser = argparse.ArgumentParser(prog="infimm_eval.demo.train.measure", description=__doc__)
    parser.add_argument("folder", type=Path, help="the checkpoint")
    given = parser.parse_args(arguments)
    scores = measure(given.folder)
    (given.folder / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", "utf-8")
    print(json.dumps(scores, indent=2))


def measure(folder: Path, limit: int | None = None) -> dict[str, dict[str, float]]:
    """``{"coco": {"0 shots": ..., "4 shots": ..., "4 shots, black pictures": ...}, ...}`` in the
    published units, rounded to one decimal."""
    model = models.load(str(folder), device="cpu", dtype="float32")
    chat = model.style == "instruct"
    tasks, shots = (CHAT_TASKS, SHOTS[:1]) if chat else (TASKS, SHOTS)
    scores: dict[str, dict[str, float]] = {task: {} for task in tasks}
    for suffix, shown in (("", model), (", black pictures", Blindfolded(model))):
        for task in tasks:
            for count, value in zip(shots, run(shown, task, shots, limit), strict=True):
                scores[task][f"{count} shots{suffix}"] = value
    for task in tasks:
        constants = CHAT_CONSTANTS[task] if chat else common(task)
        scores[task]["constant"] = max(
            run(Fake(said), task, SHOTS[:1], limit)[0] for said in constants
        )
    if not chat:
        scores["vqav2"]["constant by kind of question"] = run(
            Fake(usual_answers()), "vqav2", SHOTS[:1], limit
        )[0]
    return scores


def run(model: Model, task: str, shots: Sequence[int], limit: int | None) -> list[float]:
    """The headline of one benchmark at each number of shots."""
    benchmark = registry.load(task)
    if benchmark.scorers[0].name == "CIDEr-D":  # METEOR takes seconds and is not the headline
        benchmark = replace(benchmark, scorers=(caption.cider,))
    plan = Plan(tasks=[benchmark], shots=shots, limit=limit, samples_shown=0)
    with tempfile.TemporaryDirectory() as folder:
        cells = run_plan(plan, model, Path(folder), ProgressListener())
    return [round(cell.value or 0.0, 1) for cell in cells]


def common(task: str) -> list[str]:
    """The most common targets of the train split."""
    benchmark = registry.load(task)
    if benchmark.shots is None or benchmark.shots.demo is None:
        raise ValueError(f"{task} has no made-up train split")
    counts = Counter(benchmark.sample(row).target for row in benchmark.shots.demo())
    return [target for target, _ in islice(counts.most_common(), CONSTANTS)]


def usual_answers() -> Callable[[Request], str]:
    """Says the most common answer of the train split to a question that begins alike: all that
    can be known without the picture."""
    counts: dict[str, Counter[str]] = {}
    for row in vqa_rows("train"):
        counts.setdefault(_beginning(row["question"]), Counter())[row["answers"][0]] += 1

    def usual(request: Request) -> str:
        asked = "".join(part for part in request.prompt.turns[-1].content if isinstance(part, str))
        asked = asked.removeprefix("Question:").removesuffix(" Short answer:")
        return counts[_beginning(asked)].most_common(1)[0][0]

    return usual


def _beginning(question: str) -> str:
    """Four words; the fifth of a question about the backdrop is what tells it from the others."""
    words = question.split()
    return " ".join(words[:4] + [word for word in words[4:] if word == "backdrop?"])


class Black(Image):
    """A black picture in place of another, and as large."""

    __slots__ = ()
    name = "black.png"
    key = "black"

    def read(self) -> bytes:
        """A PNG."""
        file = io.BytesIO()
        Pillow.new("RGB", (SIDE, SIDE)).save(file, "PNG")
        return file.getvalue()


class Blindfolded:
    """A model that is shown black pictures, in the examples too."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name, self.style, self.settings = f"blind {model.name}", model.style, model.settings

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """The model's answers to the same questions about black pictures."""
        return self._model.generate(map(self._blind, requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """The same, of options."""
        return models.require_rank(self._model).rank(map(self._blind, requests))

    def _blind(self, request: Request) -> Request:
        turns = tuple(
            replace(turn, content=tuple(_blind(part) for part in turn.content))
            for turn in request.prompt.turns
        )
        return replace(request, prompt=replace(request.prompt, turns=turns))


def _blind(part: str | Image) -> str | Image:
    return Black() if isinstance(part, Image) else part


if __name__ == "__main__":
    main()
