"""What the demo model is trained on: interleaved documents, each in a style of its own.

A document is a few examples, most with a picture; from its first pictured examples a reader can
tell the style of the later ones.  Knows nothing of tensors or of the benchmarks' rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from infimm_eval.demo.scenes import Scene
from infimm_eval.demo.words import PLAIN, Style, any_style, ask, caption

SHOTS = 4
"""The most examples that stand before a question."""


@dataclass(frozen=True, slots=True)
class Example:
    """A picture (its number in the batch, or none), what is said before the model speaks, what
    it should say, and whether it is trained to."""

    picture: int | None
    prompt: str
    answer: str
    trained: bool = True


Document: TypeAlias = tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is said before the model speaks, and what it should say: in the style, and plainly."""

    prompt: str
    answer: str
    plain: str


Asker: TypeAlias = Callable[[Scene, Style, random.Random], Exchange]


def ask_for_caption(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    return Exchange("Output:", caption(scene, style), caption(scene, PLAIN))


def ask_question(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    question = ask(scene, style, rng)
    return Exchange(f"Question:{question.text} Short answer:", question.answer, question.plain)


def shown(asker: Asker, scenes: Sequence[Scene], rng: random.Random) -> Document:
    """Several pictured examples in one style.

    The first cannot know the style and is trained only where the style is plain.
    """
    style = any_style(rng)
    count = rng.choice((2, 3, 4, 5, 5, 5, 5, 5))
    examples = []
    for n, picture in enumerate(rng.sample(range(len(scenes)), count)):
        asked = asker(scenes[picture], style, rng)
        examples.append(Example(picture, asked.prompt, asked.answer, n > 0 or style == PLAIN))
    return tuple(examples)


def told(asker: Asker, scenes: Sequence[Scene], rng: random.Random) -> Document:
    """One pictured example, after two without their pictures or none: the answer is plain.

    Examples without pictures say what is wanted, not what the words stand for: whatever their
    style, the model keeps its own.
    """
    style = any_style(rng)
    heard = []
    for n in rng.sample(range(len(scenes)), rng.choice((0, 2, 2, 2))):
        asked = asker(scenes[n], style, rng)
        heard.append(Example(None, asked.prompt, asked.answer, trained=False))
    seen = rng.randrange(len(scenes))
    asked = asker(scenes[seen], style, rng)
    return (*heard, Example(seen, asked.prompt, asked.plain))
