"""The lessons of the demo model, step by step.

Knows documents and the model's classes, no benchmark and no ruler.

Shapes: I pictures, N visual tokens, V latents, D width.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Sequence
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
from infimm_eval.flamingo.pictures import Pictures

PICTURES = 8000
STEPS = 1100
SEEING = 0.35
"""The share of the steps in which there are only single examples, to learn to see."""
BATCH = 64
RATE = 2e-3
DECAY = 0.05


@dataclass(frozen=True, slots=True)
class Lesson:
    """Documents of one kind in every step: ``shown`` or ``told``, what is asked, how many."""

    name: str
    asked: tuple[Asker, ...]
    early: int
    """``told`` documents while seeing is learned."""
    alone: int
    """``told`` documents after that."""
    together: int
    """``shown`` documents after that."""
    signs: bool = False


LESSONS = (
    Lesson("captions", (documents.ask_for_caption,), 32, 8, 20),
    Lesson("questions", (documents.ask_question,), 72, 24, 32),
    Lesson("others", documents.OF_SCENES, 24, 8, 8),
    Lesson("signs", documents.OF_SIGNS, 8, 4, 4, signs=True),
)


def train(seed: int, steps: int) -> tuple[Flamingo, Tokenizer]:
    """The trained model and its tokenizer.  Says on stderr how it gets on."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    scenes, pixels_I3HW = gallery(PICTURES)
    tokenizer = vocabulary.build(corpus(scenes))
    model = Flamingo(tiny.config(tokenizer))
    labels = Labels(model.config.visual.width)
    open_gates(model)
    parameters = [*model.parameters(), *labels.parameters()]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": DECAY},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(0.9, 0.98),
    )
    facts, reader = Facts.of(scenes), Reader(tokenizer)
    report = Report(steps)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        chosen = rng.sample(range(len(scenes)), BATCH)
        tokens_IND = model.vision_encoder(pixels_I3HW[chosen])
        latents_IVD = model.perceiver(tokens_IND)
        losses = {"labels": labels(tokens_IND, latents_IVD, facts[chosen])}
        lot = [scenes[i] for i in chosen]
        for lesson in LESSONS:
            for name, batch in write(lesson, lot, rng, early=step < SEEING * steps).items():
                losses[name] = reader.loss(model, latents_IVD, batch, rng)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        report(step, losses)
    return model.eval(), tokenizer


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
    for lesson in LESSONS:
        for asker in lesson.asked:
            for _ in range(600):
                document = shown(asker, scenes, signed if lesson.signs else plain, rng)
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


def rate(step: int, steps: int) -> float:
    """Linear over the first 60 steps, then half a cosine down to a thirtieth."""
    return RATE * min(1, (step + 1) / 60) * (0.03 + 0.485 * (1 + math.cos(math.pi * step / steps)))


def write(
    lesson: Lesson, lot: Sequence[Scene], rng: random.Random, *, early: bool
) -> dict[str, list[Document]]:
    """The documents of one lesson about the pictures of one step."""
    among = [i for i, scene in enumerate(lot) if bool(scene.sign) == lesson.signs]
    alone, together = (lesson.early, 0) if early else (lesson.alone, lesson.together)
    kinds = {"told": (told, alone), "shown": (shown, together)}
    return {
        f"{lesson.name} {kind}": [
            make(rng.choice(lesson.asked), lot, among, rng) for _ in range(count)
        ]
        for kind, (make, count) in kinds.items()
        if count and len(among) >= 5
    }


class Report:
    """Losses, smoothed, on stderr every fifty steps."""

    def __init__(self, steps: int) -> None:
        self._steps, self._began = steps, time.monotonic()
        self._smooth: dict[str, float] = {}

    def __call__(self, step: int, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            value = loss.item()
            self._smooth[name] = 0.95 * self._smooth.get(name, value) + 0.05 * value
        if step % 50 == 49 or step + 1 == self._steps:
            minutes = (time.monotonic() - self._began) / 60
            figures = ", ".join(f"{name} {value:.3f}" for name, value in self._smooth.items())
            print(f"{step + 1}/{self._steps}, {minutes:.1f} min: {figures}", file=sys.stderr)
