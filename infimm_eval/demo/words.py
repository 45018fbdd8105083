"""How a house speaks of scenes: its names for things, its word order, its questions and answers.

A style has independent parts.  ``PLAIN`` is what the demo model says when it has not been shown
otherwise, ``HOUSE`` is how the demo benchmarks are written.  Knows nothing of rows or models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from infimm_eval.demo.scenes import COLORS, GROUNDS, PLACES, SHAPES, SIZES, Scene, Thing

COLOR_NAMES = (
    COLORS,
    ("crimson", "emerald", "azure", "golden", "violet", "ivory"),
    ("ruby", "jade", "sapphire", "amber", "amethyst", "pearl"),
)
SHAPE_NAMES = (
    SHAPES,
    ("disc", "box", "wedge", "spark"),
    ("ball", "block", "pyramid", "asterisk"),
)
SIZE_NAMES = (SIZES, ("tiny", "huge"), ("little", "big"))
GROUND_NAMES = ("background", "backdrop", "wall")
JOINERS = ("and", "next to", "beside")
ORDERS = ("things first", "ground first")
NUMBERS = ("zero", "one", "two", "three")
MADE_UP = ("blicket", "dax", "fep", "gorp", "kiki", "toma", "wug", "zav")
"""Names that say nothing of a thing but what the examples of one question make them say."""

AnswerType: TypeAlias = Literal["yes/no", "number", "other"]


@dataclass(frozen=True, slots=True)
class Style:
    """One way to speak: an index into each tuple above."""

    colors: int = 0
    shapes: int = 0
    sizes: int = 0
    ground: int = 0
    joiner: int = 0
    order: int = 0

    def color(self, thing: Thing) -> str:
        """What this style calls the thing's color."""
        return COLOR_NAMES[self.colors][COLORS.index(thing.color)]

    def shape(self, thing: Thing) -> str:
        """What it calls its shape."""
        return SHAPE_NAMES[self.shapes][SHAPES.index(thing.shape)]

    def size(self, thing: Thing) -> str:
        """What it calls its size."""
        return SIZE_NAMES[self.sizes][SIZES.index(thing.size)]


PLAIN = Style()
HOUSE = Style(colors=1, shapes=0, sizes=1, ground=1, joiner=2, order=1)


def any_style(rng: random.Random) -> Style:
    """A style with every part drawn by chance; never ``HOUSE``, which is only for testing."""
    while True:
        style = Style(*(rng.randrange(n) for n in (3, 3, 3, 3, 3, 2)))
        if style != HOUSE:
            return style


def caption(scene: Scene, style: Style, *, sizes: bool = True, ground: bool = True) -> str:
    """One sentence: "a small red circle and a large blue star on a black background"."""

    def name(thing: Thing) -> str:
        described = f"{style.color(thing)} {style.shape(thing)}"
        return a(f"{style.size(thing)} {described}" if sizes else described)

    things = f" {JOINERS[style.joiner]} ".join(name(thing) for thing in scene.things)
    behind = a(f"{scene.ground} {GROUND_NAMES[style.ground]}")
    if not ground:
        return things
    return f"{things} on {behind}" if style.order == 0 else f"{behind} with {things}"


def a(words: str) -> str:
    """The words with their indefinite article."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its answer, both in one style."""

    text: str
    answer: str
    kind: str
    """What VQA calls the question type: its first words."""
    answer_type: AnswerType
    others: tuple[str, ...]
    """Wrong answers of the same sort, in the same style."""

    @property
    def plain(self) -> str:
        """The answer in plain words."""
        return _PLAINLY.get(self.answer, self.answer)


_PLAINLY = {
    word: plain
    for names in (COLOR_NAMES, SHAPE_NAMES, SIZE_NAMES)
    for own in names
    for word, plain in zip(own, names[0], strict=True)
}


def ask(scene: Scene, style: Style, rng: random.Random) -> Question:
    """A question that the scene answers beyond doubt."""
    return rng.choice(_QUESTIONS)(scene, style, rng)


def _named(scene: Scene, rng: random.Random) -> Thing:
    return rng.choice(scene.things)


def _others(names: Sequence[str], right: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != right)


def _what_color(scene: Scene, style: Style, rng: random.Random) -> Question:
    thing = _named(scene, rng)
    alone = sum(t.shape == thing.shape for t in scene.things) == 1
    where = "" if alone else f" at the {PLACES[thing.place]}"
    text = f"What color is the {style.shape(thing)}{where}?"
    right = style.color(thing)
    others = _others(COLOR_NAMES[style.colors], right)
    return Question(text, right, "what color is the", "other", others)


def _what_shape(scene: Scene, style: Style, rng: random.Random) -> Question:
    thing = _named(scene, rng)
    alone = sum(t.color == thing.color for t in scene.things) == 1
    if alone:
        text = f"What shape is the {style.color(thing)} thing?"
    else:
        text = f"What shape is at the {PLACES[thing.place]}?"
    right = style.shape(thing)
    return Question(
        text, right, "what shape is", "other", _others(SHAPE_NAMES[style.shapes], right)
    )


def _what_size(scene: Scene, style: Style, rng: random.Random) -> Question:
    thing = _named(scene, rng)
    alike = [t for t in scene.things if (t.color, t.shape) == (thing.color, thing.shape)]
    where = "" if len(alike) == 1 else f" at the {PLACES[thing.place]}"
    text = f"What size is the {style.color(thing)} {style.shape(thing)}{where}?"
    right = style.size(thing)
    return Question(text, right, "what size is", "other", _others(SIZE_NAMES[style.sizes], right))


def _what_ground(scene: Scene, style: Style, rng: random.Random) -> Question:
    text = f"What color is the {GROUND_NAMES[style.ground]}?"
    return Question(
        text, scene.ground, "what color is the", "other", _others(GROUNDS, scene.ground)
    )


def _how_many(scene: Scene, style: Style, rng: random.Random) -> Question:
    right = str(len(scene.things))
    others = _others(("1", "2", "3"), right)
    return Question("How many things are there?", right, "how many", "number", others)


def _is_there(scene: Scene, style: Style, rng: random.Random) -> Question:
    there = rng.random() < 0.5
    thing = _named(scene, rng)
    if not there:
        seen = {(t.color, t.shape) for t in scene.things}
        while (thing.color, thing.shape) in seen:
            thing = Thing(0, "small", rng.choice(COLORS), rng.choice(SHAPES))
    text = f"Is there {a(style.color(thing))} {style.shape(thing)}?"
    right, wrong = ("yes", "no") if there else ("no", "yes")
    return Question(text, right, "is there a", "yes/no", (wrong,))


_QUESTIONS: tuple[Callable[[Scene, Style, random.Random], Question], ...] = (
    _what_color,
    _what_color,
    _what_shape,
    _what_size,
    _what_ground,
    _how_many,
    _is_there,
    _is_there,
)
