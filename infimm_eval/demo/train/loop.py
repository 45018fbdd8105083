"""The lessons of the demo model, step by step.

Knows documents and the model's classes, no benchmark and no scorer.

Shapes: I pictures, N visual tokens, V latents, D width.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from infimm_eval.demo import vocabulary
from infimm_eval.demo.scenes import Drawn, Family, Scene
from infimm_eval.demo.scenes import scene as described
from infimm_eval.demo.train import documents, tiny
from infimm_eval.demo.train.documents import Asker, Document, shown, told
from infimm_eval.demo.train.labels import Facts, Labels
from infimm_eval.demo.train.reading import Reader
from infimm_eval.flamingo import Flamingo
from infimm_eval.flamingo.layouts import infimm
from infimm_eval.flamingo.pictures import Pictures

PICTURES = 8000
DECAY = 0.05


@dataclass(frozen=True, slots=True)
class Subject:
    """What may be asked about pictures without a sign, or with one."""

    name: str
    asked: tuple[Asker, ...]
    signs: bool = False


SUBJECTS = (
    Subject("captions", (documents.ask_for_caption,)),
    Subject("questions", (documents.ask_question,)),
    Subject("others", documents.OF_SCENES),
    Subject("signs", documents.OF_SIGNS, signs=True),
    Subject("exams", documents.OF_EXAMS),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """So many steps with the same number of documents of every subject: ``told`` examples that
    stand alone, and ``shown`` ones together."""

    steps: int
    told: tuple[int, ...]
    shown: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """Stages under one learning rate, which rises to ``rate`` and falls along a cosine."""

    rate: float
    falls_over: int
    """The steps after which the rate would have fallen to a thirtieth; a course may end before."""
    pictures: int
    """Pictures a step."""
    labels: bool
    """Whether the tower is told what stands in every place."""
    stages: tuple[Stage, ...]
    style: float = 1.0
    """How much more ``shown`` captions weigh than anything else: one word in three of theirs is a
    matter of style."""

    @property
    def steps(self) -> int:
        """Of all stages together."""
        return sum(stage.steps for stage in self.stages)


COURSES = (
    Course(
        rate=2e-3,
        falls_over=900,
        pictures=64,
        labels=True,
        stages=(
            Stage(315, told=(32, 72, 24, 8, 0), shown=(0, 0, 0, 0, 0)),
            Stage(285, told=(8, 24, 8, 4, 0), shown=(20, 32, 8, 4, 0)),
        ),
    ),
    Course(
        rate=8e-4,
        falls_over=450,
        pictures=40,
        labels=False,
        stages=(Stage(450, told=(2, 16, 4, 2, 0), shown=(14, 40, 4, 2, 0)),),
        style=3.0,
    ),
    Course(
        rate=1e-3,
        falls_over=360,
        pictures=40,
        labels=False,
        stages=(Stage(360, told=(2, 8, 4, 2, 0), shown=(24, 24, 4, 2, 0)),),
        style=4.0,
    ),
    Course(
        rate=1e-3,
        falls_over=300,
        pictures=40,
        labels=False,
        stages=(Stage(300, told=(2, 28, 4, 2, 16), shown=(4, 52, 4, 2, 2)),),
    ),
)
"""First to see and to speak plainly, then to follow the style of what was shown before."""


def train(seed: int) -> tuple[Flamingo, Tokenizer]:
    """The trained model and its tokenizer, the same ones from the same seed with as many threads
    on such a processor.  Says on stderr how it gets on."""
    torch.manual_seed(seed)
    scenes, pixels_I3HW = gallery(PICTURES)
    tokenizer = vocabulary.build(corpus(scenes))
    model = infimm.build(tiny.config(tokenizer))
    labels = Labels(model.tower.width)
    open_gates(model)
    classroom = Classroom(model, labels, Reader(tokenizer), scenes, pixels_I3HW)
    with repeatable():
        for number, course in enumerate(COURSES):
            classroom.take(course, random.Random(seed + number))
            rounded(model)
    return model.eval(), tokenizer


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

    def take(self, course: Course, rng: random.Random) -> None:
        """One course, with an optimizer of its own."""
        parameters = [*self.model.parameters(), *self.labels.parameters()]
        optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in parameters if p.dim() > 1], "weight_decay": DECAY},
                {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        report = Report(course.steps)
        stages = (stage for stage in course.stages for _ in range(stage.steps))
        for step, stage in enumerate(stages):
            for group in optimizer.param_groups:
                group["lr"] = rate(course.rate, step, course.falls_over)
            losses = self.losses(course, stage, rng)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            report(step, losses)

    def losses(self, course: Course, stage: Stage, rng: random.Random) -> dict[str, Tensor]:
        """Of one step: a lot of pictures, each encoded once, and documents about them."""
        chosen = rng.sample(range(len(self.scenes)), course.pictures)
        tokens_IND = self.model.tower(self.pixels_I3HW[chosen])
        latents_IVD = self.model.resampler(tokens_IND)
        losses = {}
        if course.labels:
            losses["labels"] = self.labels(tokens_IND, latents_IVD, self.facts[chosen])
        lot = [self.scenes[i] for i in chosen]
        for subject, *counts in zip(SUBJECTS, stage.told, stage.shown, strict=True):
            for name, batch in write(subject, counts, lot, rng).items():
                weight = course.style if name == "captions shown" else 1.0
                losses[name] = weight * self.reader.loss(self.model, latents_IVD, batch, rng)
        return losses


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


def corpus(scenes: Sequence[Scene]) -> list[str]:
    """Texts with every word that is trained on, and the words of the usual requests."""
    rng = random.Random(0)
    signed = [i for i, scene in enumerate(scenes) if scene.sign]
    plain = [i for i, scene in enumerate(scenes) if not scene.sign]
    texts = [REQUESTS]
    for subject in SUBJECTS:
        for asker in subject.asked:
            for _ in range(60):
                document = shown(asker, scenes, signed if subject.signs else plain, rng)
                texts += [text for example in document for text in (example.prompt, example.answer)]
    return [text.replace(vocabulary.IMAGE, " ") for text in texts]


REQUESTS = """Please describe the image. Answer the question using a single word or phrase.
Answer with the option's letter from the given choices directly. USER: ASSISTANT: E F G H I
The first background is second What color is the Somebody put a thing at the What was it
How many things are there without Which image shows Look at first, then at in zero four"""


def open_gates(model: Flamingo) -> None:
    """Trained from nothing, text should see from the first step; a pretrained model's gates begin
    at zero instead, so as not to be disturbed."""
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):
            nn.init.constant_(parameter, 0.5)


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


def write(
    subject: Subject, counts: Sequence[int], lot: Sequence[Scene], rng: random.Random
) -> dict[str, list[Document]]:
    """The documents of one step about one subject: so many ``told`` and so many ``shown``."""
    among = [i for i, scene in enumerate(lot) if bool(scene.sign) == subject.signs]
    return {
        f"{subject.name} {make.__name__}": [
            make(rng.choice(subject.asked), lot, among, rng) for _ in range(count)
        ]
        for make, count in zip((told, shown), counts, strict=True)
        if count and len(among) >= 5
    }


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
