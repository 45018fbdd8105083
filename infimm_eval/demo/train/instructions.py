"""What the later stages train on: requests in words, as InfiMM's card has them after pretraining.

In multi-task training a request follows the picture; in instruction tuning it is a turn of a
conversation.  Answers are in plain words.  Knows nothing of tensors or of the benchmarks' rows.

The three requests below are those of InfiMM's model card (they come from LLaVA-1.5).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from infimm_eval.demo import judged_rows, questions
from infimm_eval.demo.questions import Choice
from infimm_eval.demo.scenes import Scene
from infimm_eval.demo.train.documents import Document, Example
from infimm_eval.demo.vocabulary import END_OF_CHUNK, IMAGE
from infimm_eval.demo.words import PLAIN, Question, Style, a, any_style, ask, caption

DESCRIBE = "Please describe the image."
BRIEFLY = "Answer the question using a single word or phrase."
YES_OR_NO = "Please answer yes or no."
LETTER = "Answer with the option's letter from the given choices directly."

REQUEST = 0.5
"""How much a word of a request counts that is learned too, against one of an answer."""


class Span(NamedTuple):
    """A part of a request, or its end and the answer.

    Of a request the right one of the options is learned where it stands, and of every option and
    statement whether it is true: an answer's letter has to do with all of that together, and is
    learned where each is.
    """

    read: str
    """With a picture's mark where the picture stands."""
    said: str
    """The words after it: of the last span the answer."""
    true: bool | None = None
    """Whether they are true of the picture, where that is to be told."""
    learned: bool = True


Spans: TypeAlias = tuple[Span, ...]
"""A request and its answer, part by part."""
Asker: TypeAlias = Callable[[Sequence[Scene], random.Random], Spans]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: what asks, about how many pictures (it may show fewer), and whether they
    have a sign."""

    ask: Asker
    pictures: int = 1
    signs: bool = False


def multitask(
    kind: Kind, scenes: Sequence[Scene], among: Sequence[int], rng: random.Random
) -> Document:
    """One request after its picture."""
    shown = rng.sample(among, kind.pictures)
    return _examples(kind.ask([scenes[i] for i in shown], rng), shown, "chunk")


def conversation(
    kind: Kind, scenes: Sequence[Scene], among: Sequence[int], rng: random.Random
) -> Document:
    """The same as a turn in the chat format; now and then a second turn about the same picture."""
    shown = rng.sample(among, kind.pictures)
    about = [scenes[i] for i in shown]
    first = _examples(turn(kind.ask(about, rng)), shown, "turn")
    if kind.pictures > 1 or kind.signs or rng.random() < 0.85:
        return first
    (second,) = briefly(ask)(about, rng)
    second = second._replace(read=second.read.replace(IMAGE, ""))
    return (*first, *_examples(turn((second,)), (), "turn"))


def turn(spans: Spans) -> Spans:
    """What a user says up to where the assistant begins, as ``tiny.CHAT_TEMPLATE`` writes it."""
    *before, last = (s._replace(read=s.read.replace(IMAGE, END_OF_CHUNK + IMAGE)) for s in spans)
    first, *others = (*before, last._replace(read=f"{last.read} ASSISTANT:"))
    return (first._replace(read=f"USER: {first.read}"), *others)


def _examples(spans: Spans, shown: Sequence[int], end: Literal["chunk", "turn"]) -> Document:
    pictures = iter(shown)
    return tuple(
        Example(
            tuple(islice(pictures, span.read.count(IMAGE))),
            span.read,
            span.said,
            trained=span.learned,
            end=end if n == len(spans) else "nothing",
            weight=1.0 if n == len(spans) else REQUEST,
            true=span.true,
        )
        for n, span in enumerate(spans, 1)
    )


# -- what is requested ---------------------------------------------------------------------------


def describe(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """For what is seen."""
    return (Span(f"{IMAGE}{DESCRIBE}", caption(scenes[0], PLAIN)),)


def briefly(make: Callable[[Scene, Style, random.Random], Question]) -> Asker:
    """A question for a word or two; it may use a style's words, the answer does not."""

    def asker(scenes: Sequence[Scene], rng: random.Random) -> Spans:
        question = make(scenes[0], any_style(rng), rng)
        return (Span(f"{IMAGE}{question.text}\n{BRIEFLY}", question.plain),)

    return asker


def letter(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """As ScienceQA and MMBench put it."""
    hint = rng.choice(("", "", "Context: Look at the things.\n"))
    return _options_below(f"{IMAGE}{hint}", _choose(scenes[0], rng))


def letter_from_text(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """The same with words for the picture, or with nothing that needs one."""
    if rng.random() < 0.3:
        return _options_below("", questions.from_memory(rng))
    described = f"Context: {caption(scenes[0], PLAIN)}.\n"
    return _options_below(described, _choose(scenes[0], rng))


def letter_in_brackets(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """As MMMU puts it, about the only picture or about the second of two."""
    *before, asked = scenes
    choice = _choose(asked, rng)
    text = f"Look at {IMAGE} first, then at {IMAGE} " if before else f"{IMAGE} "
    return _in_brackets(text + choice.text, choice.options, choice.answer)


def which_picture(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """MMMU's pictures as options."""
    seen = [{(thing.color, thing.shape) for thing in scene.things} for scene in scenes]
    right = rng.randrange(2)
    if not seen[right] - seen[1 - right]:
        right = 1 - right
    only = sorted(seen[right] - seen[1 - right])
    if not only:  # the same things in both
        return number(scenes[:1], rng)
    color, shape = rng.choice(only)
    return _in_brackets(f"Which image shows {a(color)} {shape}?", (IMAGE, IMAGE), right)


def number(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """MMMU's open question."""
    text = f"How many things are there in {IMAGE}?"
    return (Span(f"{text}\n\n{BRIEFLY}", str(len(scenes[0].things))),)


def yes_or_no(signs: bool) -> Asker:
    """As MME puts it: a statement that is true or one that is not."""
    fitting = [
        make for name, make in questions.STATEMENTS.items() if (name in questions.SIGNED) is signs
    ]

    def asker(scenes: Sequence[Scene], rng: random.Random) -> Spans:
        pair = rng.choice(fitting)(scenes[0], rng)
        right = rng.randrange(2)
        statement = Span(IMAGE, pair[right], true=right == 0, learned=False)
        return (statement, Span(f" {YES_OR_NO}", ("yes", "no")[right]))

    return asker


def at_length(signs: bool) -> Asker:
    """As MM-Vet asks."""
    family = "sign" if signs else "scene"
    makers = [make for _, fits, make in judged_rows.ABILITIES if fits == family]

    def asker(scenes: Sequence[Scene], rng: random.Random) -> Spans:
        long = rng.choice(makers)(scenes[0], rng)
        return (Span(f"{IMAGE}{long.text}", long.said),)

    return asker


def reason(scenes: Sequence[Scene], rng: random.Random) -> Spans:
    """As Core-MM asks, about one picture or by the likeness of two."""
    *_, make = rng.choice([r for r in judged_rows.REASONING if r[2] == len(scenes)])
    long = make(scenes[0], scenes[-1], rng)
    return (Span(f"{IMAGE * len(scenes)}{long.text}", long.said),)


def _choose(scene: Scene, rng: random.Random) -> Choice:
    """Often between two: which of them is right is learned sooner."""
    return questions.choose(scene, rng, most=rng.choice((2, 2, 3, 4)))


def _options_below(before: str, choice: Choice) -> Spans:
    return _choice(f"{before}{choice.text}\n", "{}. ", choice.options, choice.answer)


def _in_brackets(text: str, options: Sequence[str], right: int) -> Spans:
    return _choice(f"{text}\n\n", "({}) ", options, right)


def _choice(text: str, mark: str, options: Sequence[str], right: int) -> Spans:
    marks = [mark.format(name) for name in "ABCD"[: len(options)]]
    if IMAGE in options:
        lines = "".join(f"{m}{option}\n" for m, option in zip(marks, options, strict=True))
        return (Span(f"{text}{lines}{LETTER}", "ABCD"[right]),)
    spans = [
        Span(f"\n{m}", option, true=n == right, learned=n == right)
        for n, (m, option) in enumerate(zip(marks, options, strict=True))
    ]
    spans[0] = spans[0]._replace(read=f"{text}{marks[0]}")
    return (*spans, Span(f"\n{LETTER}", "ABCD"[right]))


KINDS: Mapping[str, Kind] = {
    "captions": Kind(describe),
    "questions": Kind(briefly(ask)),
    "knowledge": Kind(briefly(questions.know)),
    "unanswerable": Kind(briefly(questions.ask_the_blind_way)),
    "signs": Kind(briefly(questions.read_sign), signs=True),
    "letters": Kind(letter),
    "letters from text": Kind(letter_from_text),
    "letters in brackets": Kind(letter_in_brackets),
    "letters, second picture": Kind(letter_in_brackets, pictures=2),
    "which picture": Kind(which_picture, pictures=2),
    "numbers": Kind(number),
    "yes or no": Kind(yes_or_no(signs=False)),
    "yes or no, signs": Kind(yes_or_no(signs=True), signs=True),
    "at length": Kind(at_length(signs=False)),
    "at length, signs": Kind(at_length(signs=True), signs=True),
    "reasoning": Kind(reason),
    "reasoning, two pictures": Kind(reason, pictures=2),
}
"""What may be requested, by name."""
