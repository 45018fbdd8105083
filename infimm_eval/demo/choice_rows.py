"""Rows of made-up ScienceQA, MMBench, MMMU and MME: lettered choices, and yes or no in pairs.

Written in plain words: these benchmarks have no style to be found out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from infimm_eval.demo.questions import SIGNED, STATEMENTS, choose, from_memory
from infimm_eval.demo.scenes import Drawn, Family, Scene, Split, scene
from infimm_eval.demo.words import a
from infimm_eval.types import Row

_SCIENCE, _BENCH, _MMMU, _MME = 5000, 6000, 7000, 8000  # where each benchmark's scenes begin
ROTATION = 1_000_000
LETTERS = "ABCD"


def scienceqa_rows(split: Split) -> Iterator[Row]:
    """120 problems for testing, 300 for shots; every fifth has no picture, as in the full set."""
    for n in range(300 if split == "train" else 120):
        index = _SCIENCE + n
        rng = random.Random(f"scienceqa:{split}:{n}")
        pictured = n % 5 != 4
        asked = choose(scene(split, index), rng) if pictured else from_memory(rng)
        yield {
            "id": str(n + (1 if split == "test" else 10_001)),
            "image": Drawn(split, index) if pictured else None,
            "question": asked.text,
            "choices": list(asked.options),
            "answer": asked.answer,
            "hint": "" if n % 3 else "Look at the things.",
            "task": "closed choice",
            "grade": f"grade{1 + n % 12}",
            "subject": ("natural science", "social science", "language science")[n % 3],
            "topic": asked.about,
            "category": asked.about,
            "skill": f"Tell the {asked.about}",
            "split": split,
        }


_LEVELS: Mapping[str, tuple[str, str]] = {
    "color": ("attribute_recognition", "finegrained_perception (instance-level)"),
    "shape": ("object_localization", "finegrained_perception (instance-level)"),
    "size": ("spatial_relationship", "finegrained_perception (cross-instance)"),
    "count": ("structuralized_imagetext_understanding", "logic_reasoning"),
    "ground": ("image_scene", "coarse_perception"),
}


def mmbench_rows(split: Split = "test") -> Iterator[Row]:
    """100 questions, each once for every rotation of its options; the first turns come first."""
    asked = [
        choose(scene(split, _BENCH + n), random.Random(f"mmbench:{split}:{n}")) for n in range(100)
    ]
    for turn in range(len(LETTERS)):
        for n, choice in enumerate(asked):
            count = len(choice.options)
            if turn < count:
                options = choice.options[turn:] + choice.options[:turn]
                category, level = _LEVELS[choice.about]
                yield {
                    "index": n + turn * ROTATION,
                    "question": choice.text,
                    "hint": "" if n % 4 else "Look at the things.",
                    **dict(zip(LETTERS, options, strict=False)),
                    "answer": LETTERS[(choice.answer - turn) % count],
                    "category": category,
                    "l2-category": level,
                    "image": Drawn(split, _BENCH + n),
                    "split": "dev",
                }


_SUBJECTS = (
    ("Art", "Drawing"),
    ("Accounting", "Counting"),
    ("Math", "Geometry"),
    ("Pharmacy", "Colors"),
    ("History", "Scenes"),
    ("Electronics", "Signals"),
)


def mmmu_rows(split: Split = "test") -> Iterator[Row]:
    """120 questions over six subjects, one a discipline: one picture, two pictures, pictures as
    options, and open questions, in turn."""
    kinds = (_about_one, _about_two, _between_pictures, _open)
    for n in range(120):
        rng = random.Random(f"mmmu:{split}:{n}")
        subject, subfield = _SUBJECTS[n % len(_SUBJECTS)]
        asked = kinds[n % len(kinds)](split, _MMMU + 2 * n, rng)
        yield {
            "id": f"validation_{subject}_{1 + n // len(_SUBJECTS)}",
            **{f"image_{k}": None for k in range(1, 8)},
            **asked,
            "subfield": subfield,
            "subject": subject,
            "split": "validation",
        }


def _about_one(split: Split, index: int, rng: random.Random) -> dict[str, Any]:
    choice = choose(scene(split, index), rng)
    return {
        "question": f"<image 1> {choice.text}",
        "options": list(choice.options),
        "answer": LETTERS[choice.answer],
        "question_type": "multiple-choice",
        "image_1": Drawn(split, index),
    }


def _about_two(split: Split, index: int, rng: random.Random) -> dict[str, Any]:
    choice = choose(scene(split, index + 1), rng)
    return {
        "question": f"Look at <image 1> first, then at <image 2> {choice.text}",
        "options": list(choice.options),
        "answer": LETTERS[choice.answer],
        "question_type": "multiple-choice",
        "image_1": Drawn(split, index),
        "image_2": Drawn(split, index + 1),
    }


def _between_pictures(split: Split, index: int, rng: random.Random) -> dict[str, Any]:
    both = scene(split, index), scene(split, index + 1)
    right = rng.randrange(2)
    if not _only_in(both, right):
        right = 1 - right
    color, shape = rng.choice(_only_in(both, right))
    return {
        "question": f"Which image shows {a(color)} {shape}?",
        "options": ["<image 1>", "<image 2>"],
        "answer": LETTERS[right],
        "question_type": "multiple-choice",
        "image_1": Drawn(split, index),
        "image_2": Drawn(split, index + 1),
    }


def _only_in(both: tuple[Scene, Scene], this: int) -> list[tuple[str, str]]:
    """Colors and shapes that stand together in one picture and not in the other."""
    seen = [{(thing.color, thing.shape) for thing in shown.things} for shown in both]
    return sorted(seen[this] - seen[1 - this])


def _open(split: Split, index: int, rng: random.Random) -> dict[str, Any]:
    shown = scene(split, index)
    count = len(shown.things)
    words = ("zero", "one", "two", "three")[count]
    return {
        "question": "How many things are there in <image 1>?",
        "options": [],
        "answer": [str(count), words],
        "question_type": "open",
        "image_1": Drawn(split, index),
    }


def mme_rows(split: Split = "test") -> Iterator[Row]:
    """14 sub-tasks of 12 pictures; two questions a picture, one answered Yes and one No."""
    for m, (category, statement) in enumerate(STATEMENTS.items()):
        family: Family = "sign" if category in SIGNED else "scene"
        for n in range(12):
            index = _MME + 20 * m + n
            picture = Drawn(split, index, family)
            rng = random.Random(f"mme:{split}:{category}:{n}")
            for text, answer in zip(
                statement(scene(split, index, family), rng), ("Yes", "No"), strict=True
            ):
                yield {
                    "question_id": f"{category}/{n + 1:04d}.png",
                    "image": picture,
                    "question": f"{text} Please answer yes or no.",
                    "answer": answer,
                    "category": category,
                }
