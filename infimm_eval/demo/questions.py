"""Questions beyond VQAv2's: signs, knowledge, lettered choices, statements in pairs.

Each takes a scene and chance, and gives a question with its answer.  Knows nothing of rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from infimm_eval.demo.scenes import COLORS, GROUNDS, PLACES, SHAPES, SIGNS, Scene, Thing
from infimm_eval.demo.words import PLAIN, Question, Style, a, ask

FRUITS = dict(
    zip(COLORS, ("cherry", "lime", "blueberry", "banana", "plum", "coconut"), strict=True)
)
CORNERS = dict(zip(SHAPES, ("0", "4", "3", "10"), strict=True))
UNANSWERABLE = "unanswerable"


def read_sign(scene: Scene, style: Style, rng: random.Random) -> Question:
    """TextVQA: what is written in the picture."""
    text = rng.choice(("What word is on the sign?", "What does the sign say?"))
    others = tuple(sign for sign in SIGNS if sign != scene.sign)
    return Question(text, scene.sign, "what", "other", others)


def know(scene: Scene, style: Style, rng: random.Random) -> Question:
    """OK-VQA: what is seen, and something the picture does not say."""
    thing = rng.choice(scene.things)
    if rng.random() < 0.5 and sum(t.shape == thing.shape for t in scene.things) == 1:
        text, known = f"Which fruit has the color of the {style.shape(thing)}?", FRUITS
        right = FRUITS[thing.color]
    else:
        text, known = f"How many corners does the shape at the {PLACES[thing.place]} have?", CORNERS
        right = CORNERS[thing.shape]
    others = tuple(other for other in known.values() if other != right)
    return Question(text, right, "one", "other", others)


def ask_the_blind_way(scene: Scene, style: Style, rng: random.Random) -> Question:
    """VizWiz: as VQAv2, but now and then about what the picture does not show."""
    missing = [shape for shape in SHAPES if shape not in {t.shape for t in scene.things}]
    if not missing or rng.random() < 0.65:
        return ask(scene, style, rng)
    shape = style.shape(Thing(0, "small", "red", rng.choice(missing)))
    text = f"What color is the {shape}?"
    return Question(text, UNANSWERABLE, "what color is the", "other", COLORS)


# -- lettered choices ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with options; ``answer`` is the number of the right one."""

    text: str
    options: tuple[str, ...]
    answer: int
    about: str
    """``color``, ``shape``, ``size``, ``ground`` or ``count``."""


_ABOUT = {"how many": "count", "what shape is": "shape", "what size is": "size"}


def choose(scene: Scene, rng: random.Random, most: int = 4) -> Choice:
    """A question in plain words with two to ``most`` options."""
    question = ask(scene, PLAIN, rng)
    while question.answer_type == "yes/no":
        question = ask(scene, PLAIN, rng)
    wrong = rng.sample(question.others, min(most - 1, len(question.others)))
    options = [question.answer, *wrong]
    rng.shuffle(options)
    about = "ground" if question.answer in GROUNDS else _ABOUT.get(question.kind, "color")
    return Choice(question.text, tuple(options), options.index(question.answer), about)


def from_memory(rng: random.Random) -> Choice:
    """A question that needs no picture."""
    right = rng.choice(SHAPES[1:3])
    options = rng.sample(("square", "triangle"), 2)
    corners = {"square": "4", "triangle": "3"}[right]
    text = f"What shape is the thing with {corners} corners?"
    return Choice(text, tuple(options), options.index(right), "shape")


def lettered(options: Sequence[str]) -> str:
    """ "A. red", "B. blue", each on a line of its own."""
    return "".join(f"{letter}. {option}\n" for letter, option in zip("ABCD", options, strict=False))


# -- statements in pairs -------------------------------------------------------------------------

Pair: TypeAlias = tuple[str, str]
"""Two questions about one picture: the first is answered yes, the second no."""


def _but(names: Sequence[str], right: str, rng: random.Random) -> str:
    return rng.choice([name for name in names if name != right])


def _existence(scene: Scene, rng: random.Random) -> Pair:
    shape = rng.choice(scene.things).shape
    color = next(t.color for t in scene.things if t.shape == shape)
    seen = {t.color for t in scene.things if t.shape == shape}
    wrong = rng.choice([other for other in COLORS if other not in seen])
    return (
        f"Is there {a(color)} {shape} in this image?",
        f"Is there {a(wrong)} {shape} in this image?",
    )


def _of_count(text: str, plus: int = 0) -> Callable[[Scene, random.Random], Pair]:
    def pair(scene: Scene, rng: random.Random) -> Pair:
        right = len(scene.things)
        wrong = rng.choice([n for n in (1, 2, 3) if n != right])
        return text.format(right + plus), text.format(wrong + plus)

    return pair


def _of_thing(text: str, part: str, names: Sequence[str]) -> Callable[[Scene, random.Random], Pair]:
    """About one thing, its ``part`` right in the first question and wrong in the second."""

    def pair(scene: Scene, rng: random.Random) -> Pair:
        thing = rng.choice(scene.things)
        facts = {"color": thing.color, "shape": thing.shape, "place": PLACES[thing.place]}
        free = [n for n in names if n not in _true_of(scene, part)]
        wrong = facts | {part: rng.choice(free)}
        return text.format(**facts), text.format(**wrong)

    return pair


def _true_of(scene: Scene, part: str) -> set[str]:
    seen: Mapping[str, Callable[[Thing], str]] = {
        "color": lambda t: t.color,
        "shape": lambda t: t.shape,
        "place": lambda t: PLACES[t.place],
    }
    return {seen[part](thing) for thing in scene.things}


def _of_ground(scene: Scene, rng: random.Random) -> Pair:
    text = "Does this image show {} background?"
    return text.format(a(scene.ground)), text.format(a(_but(GROUNDS, scene.ground, rng)))


def _of_sign(text: str) -> Callable[[Scene, random.Random], Pair]:
    def pair(scene: Scene, rng: random.Random) -> Pair:
        return text.format(scene.sign), text.format(_but(SIGNS, scene.sign, rng))

    return pair


STATEMENTS: Mapping[str, Callable[[Scene, random.Random], Pair]] = {
    "existence": _existence,
    "count": _of_count("Is the number of things in this image {}?"),
    "position": _of_thing("Is the {color} {shape} at the {place}?", "place", PLACES),
    "color": _of_thing("Is the shape at the {place} {color}?", "color", COLORS),
    "posters": _of_sign("Is this a poster of the word {}?"),
    "celebrity": _of_thing("Is the figure at the {place} the {shape}?", "shape", SHAPES),
    "scene": _of_ground,
    "landmark": _of_thing("Does the {shape} stand at the {place}?", "place", PLACES),
    "artwork": _of_thing("Is there {color} in this artwork?", "color", COLORS),
    "OCR": _of_sign("Is the word on the sign {}?"),
    "commonsense_reasoning": _of_thing("Can a person find a {shape} here?", "shape", SHAPES),
    "numerical_calculation": _of_count("Is the number of things plus one {}?", plus=1),
    "text_translation": _of_sign("Does the sign in capitals mean {}?"),
    "code_reasoning": _of_count("Is len(things) == {}?"),
}
"""MME's 14 sub-tasks.  What they are about is drawn, so a celebrity is a shape here."""

SIGNED = ("posters", "OCR", "text_translation")
"""The sub-tasks whose pictures have a sign."""
