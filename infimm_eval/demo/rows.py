"""Rows of made-up COCO and VQAv2, in the columns that real ones are read into.

Like real annotators, ours disagree a little: some leave a thing out, some speak in words of
their own, some are wrong.  Knows nothing of prompts, scorers or models.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from infimm_eval.demo.scenes import Drawn, Family, Scene, Split, scene
from infimm_eval.demo.words import HOUSE, PLAIN, Question, ask, caption
from infimm_eval.types import Row

PICTURES = {"train": 1100, "test": 300}
"""How many pictures the captioning split holds."""


def caption_rows(split: Split) -> Iterator[Row]:
    """``image image_id filename captions``: five captions a picture, the fifth in plain words."""
    for index in range(PICTURES[split]):
        picture = Drawn(split, index)
        yield {
            "image": picture,
            "image_id": image_id(split, index),
            "filename": picture.name,
            "captions": captions(scene(split, index), random.Random(f"captions:{split}:{index}")),
        }


def vqa_rows(split: Split) -> Iterator[Row]:
    """``image image_id question_id question answers question_type answer_type``.

    Two questions a picture, ten answers a question in the annotators' order.
    """
    for index in range(PICTURES[split]):
        for number, question in enumerate(questions(split, index)):
            yield {
                "image": Drawn(split, index),
                "image_id": image_id(split, index),
                "question_id": image_id(split, index) * 10 + number,
                "question": question.text,
                "answers": answers(question, random.Random(f"answers:{split}:{index}:{number}")),
                "question_type": question.kind,
                "answer_type": question.answer_type,
            }


def image_id(split: Split, index: int) -> int:
    """Train and test pictures never share a number."""
    return index + (1 if split == "test" else 100_001)


def captions(described: Scene, rng: random.Random) -> list[str]:
    """Five captions; the first is complete and in the house's style."""
    return [
        caption(described, HOUSE),
        *(_somebody_says(described, rng) for _ in range(3)),
        caption(described, PLAIN),
    ]


def _somebody_says(described: Scene, rng: random.Random) -> str:
    """The things in another order now and then, one of several left out, or a detail."""
    things = described.things
    if rng.random() < 0.25:
        things = things[::-1]
    if len(things) > 1 and rng.random() < 0.15:
        things = things[:-1]
    sizes, ground = rng.random() < 0.7, rng.random() < 0.75
    return caption(replace(described, things=things), HOUSE, sizes=sizes, ground=ground)


def questions(split: Split, index: int, family: Family = "scene", count: int = 2) -> list[Question]:
    """Different questions about one picture, in the house's words."""
    rng = random.Random(f"questions:{split}:{family}:{index}")
    asked: dict[str, Question] = {}
    while len(asked) < count:
        question = ask(scene(split, index, family), HOUSE, rng)
        asked.setdefault(question.text, question)
    return list(asked.values())


def answers(question: Question, rng: random.Random) -> list[str]:
    """Ten answers: the first is right, of the others about one is in plain words, one wrong."""
    return [question.answer, *(_somebody_answers(question, rng) for _ in range(9))]


def _somebody_answers(question: Question, rng: random.Random) -> str:
    mood = rng.random()
    if mood < 0.1:
        return question.plain
    if mood < 0.18:
        return rng.choice(question.others)
    return question.answer
