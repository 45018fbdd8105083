"""Rows of made-up MM-Vet and Core-MM, whose answers are graded; ours come with reference answers.

Written in plain words, like the other zero-shot benchmarks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infimm_eval.demo.questions import FRUITS
from infimm_eval.demo.scenes import PLACES, Drawn, Family, Scene, Split, Thing, scene
from infimm_eval.demo.words import NUMBERS, PLAIN, a, caption
from infimm_eval.types import Row

_VET, _CORE = 9000, 9500  # where each benchmark's scenes begin


@dataclass(frozen=True, slots=True)
class Long:
    """A question answered in a sentence: what would be said, and what a grader looks for."""

    text: str
    said: str
    wanted: str
    """Parts joined by ``<AND>``, alternatives by ``<OR>``."""


def name(thing: Thing) -> str:
    """A thing as people name it."""
    return a(f"{thing.size} {thing.color} {thing.shape}")


def _parts(thing: Thing) -> str:
    return f"{thing.size}<AND>{thing.color}<AND>{thing.shape}"


def _describe(shown: Scene, rng: random.Random) -> Long:
    wanted = "<AND>".join([*map(_parts, shown.things), shown.ground])
    return Long("What is in the picture?", caption(shown, PLAIN), wanted)


def _where(shown: Scene, rng: random.Random) -> Long:
    thing = rng.choice(shown.things)
    return Long(f"What is at the {PLACES[thing.place]}?", name(thing), _parts(thing))


def _read(shown: Scene, rng: random.Random) -> Long:
    return Long("What does the sign say?", shown.sign, shown.sign)


def _read_below(shown: Scene, rng: random.Random) -> Long:
    return Long("What word is below the things?", shown.sign, shown.sign)


def _fruit(shown: Scene, rng: random.Random) -> Long:
    thing = rng.choice(shown.things)
    fruit = FRUITS[thing.color]
    return Long(
        f"Which fruit has the color of the thing at the {PLACES[thing.place]}?", fruit, fruit
    )


def _sum(shown: Scene, rng: random.Random) -> Long:
    total = 1 + len(shown.things)
    words = (*NUMBERS, "four")[total]
    return Long("What is the number of things plus one?", str(total), f"{total}<OR>{words}")


Maker = Callable[[Scene, random.Random], Long]

ABILITIES: tuple[tuple[tuple[str, ...], Family, Maker], ...] = (
    (("rec",), "scene", _describe),
    (("rec", "spat"), "scene", _where),
    (("ocr",), "sign", _read),
    (("ocr", "spat"), "sign", _read_below),
    (("rec", "know"), "scene", _fruit),
    (("rec", "math"), "scene", _sum),
    (("rec", "gen"), "scene", _describe),
)
"""MM-Vet's six capabilities in the mixtures that are asked here."""


def mmvet_rows(split: Split = "test") -> Iterator[Row]:
    """105 questions, the mixtures of capabilities in turn."""
    for n in range(105):
        capability, family, make = ABILITIES[n % len(ABILITIES)]
        asked = make(scene(split, _VET + n, family), random.Random(f"mmvet:{split}:{n}"))
        yield {
            "question_id": f"v1_{n}",
            "image": Drawn(split, _VET + n, family),
            "question": asked.text,
            "answer": asked.wanted,
            "capability": list(capability),
        }


def _without(shown: Scene, other: Scene, rng: random.Random) -> Long:
    shape = rng.choice(shown.things).shape
    left = sum(thing.shape != shape for thing in shown.things)
    text = f"How many things are there without the {shape}?"
    return Long(text, str(left), f"{left}<OR>{NUMBERS[left]}")


def _added(shown: Scene, other: Scene, rng: random.Random) -> Long:
    thing = rng.choice(shown.things)
    text = f"Somebody put a thing at the {PLACES[thing.place]}. What was it?"
    return Long(text, name(thing), _parts(thing))


def _likewise(shown: Scene, other: Scene, rng: random.Random) -> Long:
    text = f"The first background is {shown.ground}. What color is the second background?"
    return Long(text, other.ground, other.ground)


REASONING: tuple[tuple[str, str, int, Callable[[Scene, Scene, random.Random], Long]], ...] = (
    ("Deductive", "High", 1, _without),
    ("Abductive", "Moderate", 1, _added),
    ("Analogical", "Moderate", 2, _likewise),
)
"""Core-MM's three categories: its complexity and its number of pictures here."""


def core_mm_rows(split: Split = "test") -> Iterator[Row]:
    """105 questions, the categories in turn; ids are ``"1"`` onwards."""
    for n in range(105):
        category, complexity, pictures, make = REASONING[n % len(REASONING)]
        index = _CORE + 2 * n
        rng = random.Random(f"core_mm:{split}:{n}")
        asked = make(scene(split, index), scene(split, index + 1), rng)
        yield {
            "id": str(n + 1),
            "images": [Drawn(split, index + k) for k in range(pictures)],
            "question": asked.text,
            "category": category,
            "complexity": complexity,
            "answer": asked.wanted,
        }
