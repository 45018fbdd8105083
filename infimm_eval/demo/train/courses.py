"""The recipe: InfiMM's three stages of training at toy scale and one more, step by step.

Knows which lessons there are and in what order; nothing of tensors.

* Pretraining, on interleaved documents and on pairs.  InfiMM's tower and language model come
  pretrained and are frozen; here nothing comes pretrained, and nothing is frozen.
* In-context tuning, which the card does not have: documents that say what names stand for.  The
  tower is frozen, as in all that follows.
* Multi-task training: captions, VQA and ScienceQA, with a request in words.
* Instruction tuning: conversations in the chat format.  As for InfiMM-LLaMA the language model is
  not frozen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from infimm_eval.demo.scenes import Scene
from infimm_eval.demo.train import documents, instructions
from infimm_eval.demo.train.documents import Asker, Document, shown, told
from infimm_eval.demo.words import MADE_UP

ALIKE = 5
"""Pictures of a look, of things that stand alone, where their names are to be learned."""

Batches: TypeAlias = Iterator[tuple[str, list[Document]]]
"""What a step learns from: documents under the name of their kind."""


class Lesson(Protocol):
    """Steps of one kind."""

    @property
    def steps(self) -> int:
        """How many."""

    @property
    def looks(self) -> int:
        """How many looks, of `ALIKE` pictures each, join the pictures of a step."""

    def documents(self, lot: Sequence[Scene], rng: random.Random) -> Batches:
        """Those of one step, about the scenes of its pictures."""

    def weight(self, name: str) -> float:
        """How much the loss of a kind counts."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What may be asked about pictures without a sign, or with one."""

    name: str
    asked: tuple[Asker, ...]
    signs: bool = False


NONE = (0, 0, 0, 0, 0)
SUBJECTS = (
    Subject("captions", (documents.ask_for_caption,)),
    Subject("questions", (documents.ask_question,)),
    Subject("others", documents.OF_SCENES),
    Subject("signs", documents.OF_SIGNS, signs=True),
    Subject("exams", documents.OF_EXAMS),
)


@dataclass(frozen=True, slots=True)
class Interleaved:
    """The same number of documents of every subject at every step: ``told`` examples that stand
    alone, and ``shown`` ones together."""

    steps: int
    told: tuple[int, ...]
    shown: tuple[int, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    """How much more the loss of a kind of documents counts, by its name: of ``captions shown`` one
    word in three is a matter of style, of ``names`` one token in two a name."""
    named: int = 0
    """Documents with made-up names, about ``looks``, which stand last in a step's lot."""
    looks: int = 0

    def documents(self, lot: Sequence[Scene], rng: random.Random) -> Batches:
        """Subject by subject, the lone examples first; then made-up names."""
        start = len(lot) - ALIKE * self.looks
        lot, alike = lot[:start], range(start, len(lot))
        for subject, *counts in zip(SUBJECTS, self.told, self.shown, strict=True):
            among = [i for i, scene in enumerate(lot) if bool(scene.sign) == subject.signs]
            yield from {
                f"{subject.name} {make.__name__}": [
                    make(rng.choice(subject.asked), lot, among, rng) for _ in range(count)
                ]
                for make, count in zip((told, shown), counts, strict=True)
                if count and len(among) >= 5
            }.items()
        if self.named:
            looks = [alike[n : n + ALIKE] for n in range(0, len(alike), ALIKE)]
            yield "names", [documents.named(looks, rng) for _ in range(self.named)]

    def weight(self, name: str) -> float:
        """Every kind counts as much, however many documents it has, but for ``weights``."""
        return self.weights.get(name, 1.0)


@dataclass(frozen=True, slots=True)
class Requests:
    """So many requests of every kind at every step, one by one or as conversations."""

    steps: int
    counts: Mapping[str, int]
    chat: bool

    @property
    def looks(self) -> int:
        """None: made-up names are not requested."""
        return 0

    def documents(self, lot: Sequence[Scene], rng: random.Random) -> Batches:
        """Kind by kind."""
        make = instructions.conversation if self.chat else instructions.multitask
        for name, count in self.counts.items():
            kind = instructions.KINDS[name]
            among = [i for i, scene in enumerate(lot) if bool(scene.sign) == kind.signs]
            if len(among) >= kind.pictures:
                yield name, [make(kind, lot, among, rng) for _ in range(count)]

    def weight(self, name: str) -> float:
        """By the number of requests, on average 1: as if all of a step were one batch."""
        return len(self.counts) * self.counts[name] / sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Course:
    """Lessons under one learning rate, which rises to ``rate`` and falls along a cosine."""

    rate: float
    falls_over: int
    """The steps after which the rate would have fallen to a thirtieth; a course may end before."""
    pictures: int
    """Pictures a step."""
    lessons: tuple[Lesson, ...]
    labels: bool = False
    """Whether the tower is told what stands in every place."""
    text_labels: bool = False
    """Whether the language model is told at every word what the picture shows."""
    frozen_tower: bool = False

    @property
    def steps(self) -> int:
        """Of all lessons together."""
        return sum(lesson.steps for lesson in self.lessons)


@dataclass(frozen=True, slots=True)
class Stage:
    """Courses one after another, from what the stage ``after`` left; ``chat``: the model that comes
    of them is spoken to in turns."""

    name: str
    courses: tuple[Course, ...]
    after: str = ""
    chat: bool = False
    new: tuple[str, ...] = ()
    """Words that the model says here first."""


PRETRAINING = Stage(
    "pretraining",
    (
        Course(
            rate=2e-3,
            falls_over=900,
            pictures=64,
            labels=True,
            lessons=(
                Interleaved(315, told=(32, 72, 24, 8, 0), shown=NONE),
                Interleaved(285, told=(8, 24, 8, 4, 0), shown=(20, 32, 8, 4, 0)),
            ),
        ),
        Course(
            rate=8e-4,
            falls_over=450,
            pictures=40,
            lessons=(
                Interleaved(
                    450,
                    told=(2, 16, 4, 2, 0),
                    shown=(14, 40, 4, 2, 0),
                    weights={"captions shown": 3.0},
                ),
            ),
        ),
        Course(
            rate=1e-3,
            falls_over=360,
            pictures=40,
            lessons=(
                Interleaved(
                    360,
                    told=(2, 8, 4, 2, 0),
                    shown=(24, 24, 4, 2, 0),
                    weights={"captions shown": 4.0},
                ),
            ),
        ),
        Course(
            rate=1e-3,
            falls_over=300,
            pictures=40,
            lessons=(Interleaved(300, told=(2, 28, 4, 2, 16), shown=(4, 52, 4, 2, 2)),),
        ),
    ),
)
"""First to see and to speak plainly, then to follow the style of what was shown before."""

IN_CONTEXT = Stage(
    "in-context",
    (
        Course(
            rate=1e-3,
            falls_over=1500,
            pictures=0,
            text_labels=True,
            frozen_tower=True,
            lessons=(Interleaved(700, told=NONE, shown=NONE, named=48, looks=12),),
        ),
        Course(
            rate=1e-3,
            falls_over=300,
            pictures=40,
            text_labels=True,
            frozen_tower=True,
            lessons=(
                Interleaved(
                    300,
                    told=(2, 14, 2, 2, 2),
                    shown=(8, 34, 2, 2, 0),
                    weights={"captions shown": 4.0, "names": 2.0},
                    named=24,
                    looks=12,
                ),
            ),
        ),
    ),
    after="pretraining",
    new=MADE_UP,
)
"""To read which name stands with which picture, and then to do that beside everything else."""

MULTITASK = Stage(
    "multitask",
    (
        Course(
            rate=1.5e-3,
            falls_over=1480,
            pictures=64,
            text_labels=True,
            frozen_tower=True,
            lessons=(
                Requests(700, {"yes or no": 100, "yes or no, signs": 20}, chat=False),
                Requests(
                    500,
                    {
                        "captions": 2,
                        "questions": 6,
                        "knowledge": 3,
                        "unanswerable": 2,
                        "signs": 4,
                        "letters": 40,
                        "letters from text": 4,
                        "yes or no": 20,
                        "yes or no, signs": 8,
                    },
                    chat=False,
                ),
            ),
        ),
    ),
    after="pretraining",
)
"""Whether words are true of a picture, then which of several are."""

INSTRUCTION = Stage(
    "instruction",
    (
        Course(
            rate=1.2e-3,
            falls_over=520,
            pictures=64,
            text_labels=True,
            frozen_tower=True,
            lessons=(
                Requests(
                    520,
                    {
                        "captions": 2,
                        "questions": 5,
                        "knowledge": 2,
                        "unanswerable": 2,
                        "signs": 4,
                        "letters": 30,
                        "letters from text": 4,
                        "letters in brackets": 12,
                        "letters, second picture": 10,
                        "which picture": 8,
                        "numbers": 3,
                        "yes or no": 20,
                        "yes or no, signs": 8,
                        "at length": 3,
                        "at length, signs": 2,
                        "reasoning": 3,
                        "reasoning, two pictures": 2,
                    },
                    chat=True,
                ),
            ),
        ),
    ),
    after="multitask",
    chat=True,
)

STAGES = (PRETRAINING, IN_CONTEXT, MULTITASK, INSTRUCTION)
"""In their order.  ``demo`` comes of in-context tuning and ``demo-chat`` of the last; both begin
with pretraining."""
