"""Rows of made-up VL-ICL Bench: what is asked stands in the examples alone.

In the columns that the real files are read into, with scenes of shapes in place of ImageNet, CLEVR
and TextOCR.  Knows nothing of how examples are chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import lru_cache

from infimm_eval.demo.scenes import COLORS, SHAPES, SIZES, Drawn, Family, Look, Scene, Split, scene
from infimm_eval.demo.words import MADE_UP
from infimm_eval.types import Row

COUNTS = {"train": 400, "test": 100}
QUERIES = 200
"""Of ``open_mi``: more of them, as they bring their own examples."""
OPERATORS = ("+", "-", "x")
_CLASSES, _SHOWN = 3, 5
_ALONE, _PAIRS = 5000, 6000  # where each benchmark's scenes begin
_SCANNED = 2500


@lru_cache(maxsize=2)
def alone(split: Split) -> dict[Look, list[int]]:
    """The numbers of scenes with a single thing, by its look."""
    found: dict[Look, list[int]] = {(color, shape): [] for color in COLORS for shape in SHAPES}
    for index in range(_ALONE, _ALONE + _SCANNED):
        look = scene(split, index).look
        if look:
            found[look].append(index)
    return {look: numbers for look, numbers in found.items() if len(numbers) >= _SHOWN}


def open_mi_rows() -> Iterator[Row]:
    """Queries: ``classes``, of which one is the answer."""
    for number in range(QUERIES):
        names, _, picture = _named(number)
        yield {
            "id": str(number),
            "images": (picture,),
            "question": "This is a",
            "answer": names[0],
            "classes": list(names),
        }


def open_mi_examples() -> Iterator[Row]:
    """What the queries bring with them: five pictures of each class."""
    for number in range(QUERIES):
        names, looks, _ = _named(number)
        for name, look in zip(names, looks, strict=True):
            rng = random.Random(f"open_mi:{number}:{name}")
            for n, index in enumerate(rng.sample(alone("train")[look], _SHOWN)):
                yield {
                    "id": f"{number}/{name}/{n}",
                    "query": str(number),
                    "images": (Drawn("train", index),),
                    "question": "This is a",
                    "answer": name,
                }


def _named(number: int) -> tuple[list[str], list[Look], Drawn]:
    """Names, their looks, and a test picture of the first."""
    rng = random.Random(f"open_mi:{number}")
    look, picture = rng.choice([(look, i) for look, of in alone("test").items() for i in of])
    others = rng.sample([other for other in alone("train") if other != look], _CLASSES - 1)
    return rng.sample(MADE_UP, _CLASSES), [look, *others], Drawn("test", picture)


def matching_mi_rows(split: Split) -> Iterator[Row]:
    """Two pictures, of the same look or of different ones; in ``train`` both, as a ``pair``."""
    for number in range(COUNTS[split]):
        rng = random.Random(f"matching_mi:{split}:{number}")
        shown = alone(split)
        here, there = rng.sample([look for look in shown if len(shown[look]) > 1], 2)
        same = rng.sample(shown[here], 2)
        pairs = {"same": same, "diff": [same[0], rng.choice(shown[there])]}
        for kind in pairs if split == "train" else [rng.choice(list(pairs))]:
            yield {
                "id": f"{number}/{kind}" if split == "train" else str(number),
                "images": tuple(Drawn(split, index) for index in pairs[kind]),
                "question": "Is it the same thing?",
                "answer": "yes" if kind == "same" else "no",
                "pair": str(number),
                "kind": kind,
            }


def clevr_rows(split: Split) -> Iterator[Row]:
    """How many things have what the question names."""
    for index, drawn in _scenes(split):
        rng = random.Random(f"clevr:{split}:{index}")
        part, names = rng.choice((("color", COLORS), ("shape", SHAPES), ("size", SIZES)))
        there = [getattr(thing, part) for thing in drawn.things]
        named = rng.choice(there) if rng.random() < 0.7 else rng.choice(names)
        yield {
            "id": str(index),
            "images": (Drawn(split, index),),
            "question": f"{part}: {named}",
            "answer": str(there.count(named)),
        }


def operator_rows(split: Split) -> Iterator[Row]:
    """As many things at the left, an operator that only the examples tell, as many at the right.

    A test row has the answer by its ``operator``, an example the answers by each of them.
    """

    def sides(drawn: Scene) -> tuple[int, int]:
        left = sum(thing.place % 2 == 0 for thing in drawn.things)
        return left, len(drawn.things) - left

    for index, drawn in _scenes(split):
        pictures = (Drawn(split, index),)
        yield _calculated(split, index, pictures, *sides(drawn), "left ? right")


def interleaved_rows(split: Split) -> Iterator[Row]:
    """The same, with a picture for each of the numbers."""
    for index, first in _scenes(split):
        other = index + COUNTS[split]
        second = scene(split, other)
        pictures = (Drawn(split, index), Drawn(split, other))
        yield _calculated(split, index, pictures, len(first.things), len(second.things), "? ")


def textocr_rows(split: Split) -> Iterator[Row]:
    """The word on a sign."""
    for index, drawn in _scenes(split, "sign"):
        yield {
            "id": str(index),
            "images": (Drawn(split, index, "sign"),),
            "question": "What word is on the sign?",
            "answer": drawn.sign,
        }


def _calculated(
    split: Split, index: int, pictures: tuple[Drawn, ...], a: int, b: int, question: str
) -> Row:
    answers = [str(work(a, b)) for work in _WORK]
    operator = random.Random(f"operator:{split}:{index}").randrange(len(OPERATORS))
    query = {"answer": answers[operator], "operator": OPERATORS[operator]}
    example = {"answer": answers[0], **dict(zip(OPERATORS, answers, strict=True))}
    return {
        "id": str(index),
        "images": pictures,
        "question": question.strip(),
        **(example if split == "train" else query),
    }


_WORK: tuple[Callable[[int, int], int], ...] = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
)
"""One for each of ``OPERATORS``."""


def _scenes(split: Split, family: Family = "scene") -> Iterator[tuple[int, Scene]]:
    for index in range(_PAIRS, _PAIRS + COUNTS[split]):
        yield index, scene(split, index, family)
