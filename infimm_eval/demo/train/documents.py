"""What the demo model is trained on: interleaved documents, each in a style of its own.

A document is a few examples, most with a picture; from its first pictured examples a reader can
tell the style of the later ones.  Knows nothing of tensors or of the benchmarks' rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from infimm_eval.demo import judged_rows, questions
from infimm_eval.demo.scenes import GROUNDS, Scene
from infimm_eval.demo.vocabulary import IMAGE
from infimm_eval.demo.words import MADE_UP, PLAIN, Question, Style, any_style, ask, caption


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is said before the model speaks, and what it should say: in the style, and plainly.

    ``prompt`` has a picture's mark where the picture stands.
    """

    prompt: str
    answer: str
    plain: str


@dataclass(frozen=True, slots=True)
class Example:
    """``pictures`` are numbers in the batch; ``trained`` says whether the answer is to be learned
    or only read, ``end`` what follows it: the end of a chunk (of the last one in half the cases
    that of the text), the end of a turn, or, where the same text goes on, nothing; ``weight`` is
    how much each of its words counts, ``true`` whether the answer is true of the picture, where the
    model is to tell that at its last word."""

    pictures: tuple[int, ...]
    prompt: str
    answer: str
    trained: bool
    end: Literal["chunk", "turn", "nothing"] = "chunk"
    weight: float = 1.0
    true: bool | None = None


Document: TypeAlias = tuple[Example, ...]
Asker: TypeAlias = Callable[[Scene, Style, random.Random], Exchange]

ONE_LOOK = 0.4
"""Of documents with made-up names.  There the name is always the one just shown, so that copying it
is worth learning by itself."""


def shown(
    asker: Asker, scenes: Sequence[Scene], among: Sequence[int], rng: random.Random
) -> Document:
    """Several pictured examples in one style, of the scenes with the numbers ``among``.

    The first cannot know the style and is trained only where that does not matter.
    """
    style = any_style(rng)
    examples = []
    for n, picture in enumerate(rng.sample(among, rng.choice((2, 3, 4, 5, 5, 5, 5, 5)))):
        asked = asker(scenes[picture], style, rng)
        known = n > 0 or asked.answer == asked.plain
        examples.append(Example((picture,), asked.prompt, asked.answer, trained=known))
    return tuple(examples)


def told(
    asker: Asker, scenes: Sequence[Scene], among: Sequence[int], rng: random.Random
) -> Document:
    """One pictured example, after two without their pictures or none: the answer is plain.

    Examples without pictures say what is wanted, not what the words stand for: whatever their
    style, the model keeps its own.
    """
    style = any_style(rng)
    examples = []
    for picture in rng.sample(among, rng.choice((0, 0, 0, 2))):
        asked = asker(scenes[picture], style, rng)
        blind = asked.prompt.replace(IMAGE, "")
        examples.append(Example((), blind, asked.answer, trained=False))
    seen = rng.choice(among)
    asked = asker(scenes[seen], style, rng)
    return (*examples, Example((seen,), asked.prompt, asked.plain, trained=True))


def named(alike: Sequence[Sequence[int]], rng: random.Random) -> Document:
    """Pictures of two looks, or of one, under made-up names, as VL-ICL's open-ended MiniImageNet.

    ``alike`` has five pictures of each look.  Only the examples say which name stands for which
    look: an answer is trained where its name was shown before.
    """
    looks = rng.sample(alike, 1 if rng.random() < ONE_LOOK else 2)
    names = rng.sample(MADE_UP, len(looks))
    count = rng.choice((1, 2, 2, 3, 4))
    query, *others = rng.sample(looks[0], count + 1)
    pictures = [others, *(rng.sample(look, count) for look in looks[1:])]
    examples = [(p, name) for name, of in zip(names, pictures, strict=True) for p in of]
    rng.shuffle(examples)
    said = [name for _, name in examples]
    return tuple(
        Example((picture,), f"{IMAGE}This is a\nAnswer:", name, trained=name in said[:n])
        for n, (picture, name) in enumerate((*examples, (query, names[0])))
    )


# -- what is asked -------------------------------------------------------------------------------


def ask_for_caption(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """For what is seen, in the style of the document."""
    return Exchange(f"{IMAGE}Output:", caption(scene, style), caption(scene, PLAIN))


def ask_openly(
    make: Callable[[Scene, Style, random.Random], Question],
) -> Asker:
    """A question to be answered in a word or two."""

    def asker(scene: Scene, style: Style, rng: random.Random) -> Exchange:
        question = make(scene, style, rng)
        return Exchange(_put(question.text), question.answer, question.plain)

    return asker


def ask_for_letter(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """A question with four lettered options."""
    choice = questions.choose(scene, rng)
    letter = "ABCD"[choice.answer]
    hint = rng.choice(("", "", "Context: Look at the things.\n"))
    mark = rng.choice((f"{IMAGE}{hint}Question:", f"{IMAGE}{hint}Question:", f"Question:{IMAGE}"))
    options = questions.lettered(choice.options)
    return Exchange(f"{mark}{choice.text}\n{options}Short answer:", letter, letter)


def ask_yes_or_no(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """Whether a statement about the picture is true."""
    fitting = [
        statement
        for category, statement in questions.STATEMENTS.items()
        if scene.sign or category not in questions.SIGNED
    ]
    pair = rng.choice(fitting)(scene, rng)
    right = rng.randrange(2)
    answer = ("yes", "no")[right]
    return Exchange(_put(f"{pair[right]} Please answer yes or no."), answer, answer)


def ask_at_length(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """A question that is answered in a sentence."""
    family = "sign" if scene.sign else "scene"
    makers = [make for _, fits, make in judged_rows.ABILITIES if fits == family]
    long = rng.choice(makers)(scene, rng)
    return Exchange(_put(long.text), long.said, long.said)


def ask_in_brackets(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """As MMMU puts it: the picture inside the question, the letters in brackets."""
    choice = questions.choose(scene, rng)
    letter = "ABCD"[choice.answer]
    asked = rng.choice((f"{IMAGE} ", f"Look at {IMAGE} first, then at ")) + choice.text
    options = "".join(
        f"({letter}) {option}\n" for letter, option in zip("ABCD", choice.options, strict=False)
    )
    return Exchange(f"Question:{asked}\n\n{options}\nShort answer:", letter, letter)


def ask_for_a_number(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """How many things there are."""
    count = str(len(scene.things))
    text = f"How many things are there in {IMAGE}?"
    return Exchange(f"Question:{text} Short answer:", count, count)


def ask_to_reason(scene: Scene, style: Style, rng: random.Random) -> Exchange:
    """A question that takes two steps."""
    *_, make = rng.choice(judged_rows.REASONING)
    first = replace(scene, ground=rng.choice(GROUNDS))  # of two pictures, the second is asked about
    long = make(first, scene, rng)
    return Exchange(_put(long.text), long.said, long.said)


def _put(text: str) -> str:
    return f"{IMAGE}Question:{text} Short answer:"


ask_question = ask_openly(ask)
OF_SCENES: tuple[Asker, ...] = (
    ask_openly(questions.know),
    ask_openly(questions.ask_the_blind_way),
    ask_for_letter,
    ask_for_letter,
    ask_yes_or_no,
    ask_at_length,
)
OF_EXAMS: tuple[Asker, ...] = (ask_in_brackets, ask_for_a_number, ask_to_reason)
OF_SIGNS: tuple[Asker, ...] = (ask_openly(questions.read_sign), ask_yes_or_no, ask_at_length)
"""What is asked besides captions and plain questions; ``OF_SIGNS`` of pictures with a sign."""
