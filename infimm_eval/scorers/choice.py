"""Multiple choice: which option did the model mean?  A letter, or nothing: no scorer here guesses.

Knows letters and the texts of options; not what the question was.  The right letter is the
sample's only reference, and option 0 is "A".  An answer without a letter counts as wrong
(``Score.parsed`` tells it apart); a sample without a reference stays unscored.

``letter`` is a plain reading for anybody: "B", "(B)", "B. red", "The answer is B", "red".  A
benchmark's own reading makes a scorer by ``scorer(name, read)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import ascii_uppercase
from typing import TypeAlias

from infimm_eval.scorers import fixed
from infimm_eval.types import Content, Image, Record, Sample, Score, Scorer

Options: TypeAlias = Mapping[str, str]
"""Letter to text, in order."""
Reading: TypeAlias = Callable[[str, Options], str]
"""What was said, and the options, to a letter or ""."""


def scorer(name: str, read: Reading, cases: fixed.Cases | None = None) -> Scorer:
    """1 where the letter that ``read`` hears is the reference, else 0."""
    return Scorer(
        name=name, function=lambda record: compare(hear(record, read), record.sample), cases=cases
    )


def compare(heard: str, sample: Sample) -> Score:
    """1 where the letter is the reference, else 0; "" is no letter.  Without a reference
    unscored."""
    parsed = bool(heard)
    if not sample.references:
        return Score(None, heard, parsed=parsed)
    return Score(float(heard == sample.references[0]), heard, parsed=parsed)


def hear(record: Record, read: Reading) -> str:
    """The letter that was said; of options ranked by likelihood, the likeliest needs no reading."""
    if ranks := record.answer.logliks:
        return ascii_uppercase[ranks.index(max(ranks))]
    return read(record.text, options_of(record.sample))


def options_of(sample: Sample) -> dict[str, str]:
    """The options' texts by letter.  A picture reads as ``<image 3>``, counted as one meets it:
    those before the question, those inside, those among the options."""
    pictures: list[Image] = []

    def plain(content: Content) -> str:
        return "".join(part if isinstance(part, str) else mark(part) for part in content)

    def mark(picture: Image) -> str:
        if picture not in pictures:
            pictures.append(picture)
        return f"<image {pictures.index(picture) + 1}>"

    plain((*sample.images, *sample.question))
    return dict(zip(ascii_uppercase, map(plain, sample.options), strict=False))


_ALONE = re.compile(r"\W*([A-Z])(?:\W*|[.):,*]+\s.*)", re.DOTALL)
_ANNOUNCED = re.compile(r"\b(?:answer|option|choice)(?: is)?\W*\b([A-Z])\b", re.IGNORECASE)


def read_letter(text: str, options: Options) -> str:
    """A letter that stands alone or in front, one that is announced, or an option's whole text."""
    said = text.strip()
    alone = _ALONE.fullmatch(said)
    letters = {alone[1]} if alone else set(_ANNOUNCED.findall(said))
    known = letters & options.keys()
    if not known:
        spoken = said.rstrip(".").casefold()
        known = {letter for letter, option in options.items() if option.casefold() == spoken}
    return known.pop() if len(known) == 1 else ""


letter = scorer("letter", read_letter, fixed.shared("choice"))
