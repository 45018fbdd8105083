"""The lessons of the demo model, step by step.

Knows documents and the model's classes, no benchmark and no scorer.

Shapes: I pictures, N visual tokens, V latents, D width.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from infimm_eval.demo import vocabulary
from infimm_eval.demo.scenes import Drawn, Family, Look, Scene
from infimm_eval.demo.scenes import scene as described
from infimm_eval.demo.train import tiny
from infimm_eval.demo.train.courses import ALIKE, STAGES, SUBJECTS, Course, Lesson, Stage
from infimm_eval.demo.train.documents import shown
from infimm_eval.demo.train.labels import Facts, Labels, TextLabels, truths
from infimm_eval.demo.train.reading import Asked, Reader
from infimm_eval.demo.words import MADE_UP
from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo
from infimm_eval.flamingo.layouts import infimm
from infimm_eval.flamingo.pictures import Pictures

PICTURES = 8000
DECAY = 0.05


Keep: TypeAlias = Callable[[Stage, int, Flamingo, Tokenizer], None]
"""Told of a model after every step of a stage: which, how many steps, and its tokenizer."""


def train(seed: int, keep: Keep, stages: Sequence[Stage], start: Path | None = None) -> None:
    """Train through the stages, from nothing or from the checkpoint ``start``.

    The same seed with as many threads on such a processor gives the same models, also where a later
    stage starts from what an earlier call kept.  Says on stderr how it gets on.  `UsageError` of a
    ``start`` that is no checkpoint, or whose tokenizer lacks words of the recipe.
    """
    torch.manual_seed(seed)
    scenes, pixels_I3HW = gallery(PICTURES)
    tokenizer = vocabulary.build(corpus(scenes))
    if start is None:
        model = infimm.build(tiny.config(tokenizer))
        open_gates(model)
    else:
        words = tokenizer.get_vocab().keys()
        model, tokenizer = tiny.load(start)
        if lacking := sorted(words - tokenizer.get_vocab().keys()):
            raise UsageError(f"the tokenizer of {start} does not know {', '.join(lacking)}")
    labels = Labels(model.tower.width)
    classroom = Classroom(model, labels, Reader(tokenizer), scenes, pixels_I3HW)
    left = {stages[0].after: weights(model)}
    with repeatable():
        for stage in stages:
            model.load_state_dict(left[stage.after])
            steps, before = 0, _before(stage)
            torch.manual_seed(seed + before)
            say_anew(model, [vocabulary.number(tokenizer, word) for word in stage.new])
            for number, course in enumerate(stage.courses, before):
                torch.manual_seed(seed + number)
                for _ in classroom.take(course, random.Random(seed + number)):
                    steps += 1
                    keep(stage, steps, model, tokenizer)
                rounded(model)
            left[stage.name] = weights(model)


def weights(model: Flamingo) -> dict[str, Tensor]:
    """A copy, to go on from after another stage."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def _before(stage: Stage) -> int:
    """How many courses lead to a stage."""
    by_name = {stage.name: stage for stage in STAGES}
    count = 0
    while stage.after:
        stage = by_name[stage.after]
        count += len(stage.courses)
    return count


class Classroom:
    """A model, and everything it learns from."""

    def __init__(
        self,
        model: Flamingo,
        labels: Labels,
        reader: Reader,
        scenes: Sequence[Scene],
        pixels_I3HW: Tensor,
    ) -> None:
        self.model, self.labels, self.reader = model, labels, reader
        self.scenes, self.pixels_I3HW, self.facts = scenes, pixels_I3HW, Facts.of(scenes)
        self.truth_IF = truths(scenes)
        self.looks = by_look(scenes)
        self.tokens: dict[int, Tensor] = {}

    def take(self, course: Course, rng: random.Random) -> Iterator[None]:
        """One course, with an optimizer of its own; yields after every step."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(not (course.frozen_tower and name.startswith("tower.")))
        text_labels = TextLabels(self.model.decoder.width) if course.text_labels else None
        parameters = [*self.model.parameters(), *self.labels.parameters()]
        parameters += text_labels.parameters() if text_labels else ()
        parameters = [p for p in parameters if p.requires_grad]
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.dim() > 1], "weight_decay": DECAY},
                {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        report = Report(course.steps)
        lessons = (lesson for lesson in course.lessons for _ in range(lesson.steps))
        for step, lesson in enumerate(lessons):
            for group in optimizer.param_groups:
                group["lr"] = rate(course.rate, step, course.falls_over)
            losses = self.losses(course, lesson, text_labels, rng)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            report(step, losses)
            yield

    def losses(
        self, course: Course, lesson: Lesson, text_labels: TextLabels | None, rng: random.Random
    ) -> dict[str, Tensor]:
        """Of one step: a lot of pictures, each encoded once, and documents about them."""
        chosen = rng.sample(range(len(self.scenes)), course.pictures)
        for look in rng.sample(self.looks, lesson.looks):
            chosen += rng.sample(look, ALIKE)
        tokens_IND = self.seen(chosen, frozen=course.frozen_tower)
        latents_IVD = self.model.resampler(tokens_IND)
        losses = {}
        if course.labels:
            losses["labels"] = self.labels(tokens_IND, latents_IVD, self.facts[chosen])
        lot = [self.scenes[i] for i in chosen]
        asked = None if text_labels is None else Asked(text_labels, self.truth_IF[chosen])
        learned = self.reader.losses(
            self.model, latents_IVD, dict(lesson.documents(lot, rng)), rng, asked
        )
        for name, loss in learned.answers.items():
            losses[name] = lesson.weight(name) * loss
        return losses | ({} if learned.facts is None else {"facts": learned.facts})

    def seen(self, chosen: Sequence[int], *, frozen: bool) -> Tensor:
        """The tower's tokens of pictures (I, N, D); a frozen one looks at a picture once."""
        if not frozen:
            self.tokens.clear()
            return self.model.tower(self.pixels_I3HW[chosen])
        missing = [i for i in chosen if i not in self.tokens]
        if missing:
            with torch.no_grad():
                made = self.model.tower(self.pixels_I3HW[missing])
            self.tokens |= dict(zip(missing, made, strict=True))
        return torch.stack([self.tokens[i] for i in chosen])


def gallery(count: int) -> tuple[list[Scene], Tensor]:
    """Scenes of the train split, every eighth with a sign, and their pixels as the model's
    processor makes them, float32 (I, 3, H, W)."""
    read = Pictures(tiny.SIZE)
    scenes, pixels = [], []
    for index in range(count):
        family: Family = "sign" if index % 8 == 7 else "scene"
        scenes.append(described("train", index, family))
        pixels.append(read(Drawn("train", index, family).pillow()))
    return scenes, torch.stack(pixels)


def by_look(scenes: Sequence[Scene]) -> list[list[int]]:
    """The numbers of those with a lone thing, by look, of which there are enough."""
    found: dict[Look, list[int]] = {}
    for index, scene in enumerate(scenes):
        if scene.look:
            found.setdefault(scene.look, []).append(index)
    return [numbers for numbers in found.values() if len(numbers) >= ALIKE]


def corpus(scenes: Sequence[Scene]) -> list[str]:
    """Texts with every word that is trained on, and the words of the usual requests."""
    rng = random.Random(0)
    signed = [i for i, scene in enumerate(scenes) if scene.sign]
    plain = [i for i, scene in enumerate(scenes) if not scene.sign]
    texts = [REQUESTS, " ".join(MADE_UP)]
    for subject in SUBJECTS:
        for asker in subject.asked:
            for _ in range(60):
                document = shown(asker, scenes, signed if subject.signs else plain, rng)
                texts += [text for example in document for text in (example.prompt, example.answer)]
    return [text.replace(vocabulary.IMAGE, " ") for text in texts]


REQUESTS = """Please describe the image. Answer the question using a single word or phrase.
Answer with the option's letter from the given choices directly. USER: ASSISTANT: E F G H I
The first background is second What color is the Somebody put a thing at the What was it
How many things are there without Which image shows Look at first, then at in zero four
This is a Answer:"""


def open_gates(model: Flamingo) -> None:
    """Trained from nothing, text should see from the first step; a pretrained model's gates begin
    at zero instead, so as not to be disturbed."""
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):
            nn.init.constant_(parameter, 0.5)


@torch.no_grad()
def say_anew(model: Flamingo, ids: Sequence[int]) -> None:
    """Output rows of words that were never said are drawn anew.  Every word that is said pushes
    them away from the same states, until they are all alike (a cosine of .99 after pretraining),
    and which of them is meant cannot be learned any more."""
    rows_YM = model.get_parameter("decoder.lm_head.weight")
    rows_YM[ids] = rows_YM.std() * torch.randn(len(ids), rows_YM.shape[1])


@contextmanager
def repeatable() -> Iterator[None]:
    """Gradients of what was gathered (latents, embeddings) add up in one order: by default threads
    race, and in a thousand steps a last bit decides when the model begins to follow examples."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def rounded(model: Flamingo) -> None:
    """Keep what a checkpoint in bfloat16 keeps, so that a course can go on from a saved one."""
    model.to(torch.bfloat16).to(torch.float32)


def rate(peak: float, step: int, steps: int) -> float:
    """Linear over the first 60 steps, then half a cosine down to a thirtieth."""
    return peak * min(1, (step + 1) / 60) * (0.03 + 0.485 * (1 + math.cos(math.pi * step / steps)))


class Report:
    """Losses, smoothed, on stderr every fifty steps."""

    def __init__(self, steps: int) -> None:
        self._steps, self._began = steps, time.monotonic()
        self._smooth: dict[str, float] = {}

    def __call__(self, step: int, losses: dict[str, Tensor]) -> None:
        """Note the losses of a step, and print a line now and then."""
        for name, loss in losses.items():
            value = loss.item()
            self._smooth[name] = 0.95 * self._smooth.get(name, value) + 0.05 * value
        if step % 50 == 49 or step + 1 == self._steps:
            minutes = (time.monotonic() - self._began) / 60
            figures = ", ".join(f"{name} {value:.3f}" for name, value in self._smooth.items())
            print(f"{step + 1}/{self._steps}, {minutes:.1f} min: {figures}", file=sys.stderr)
