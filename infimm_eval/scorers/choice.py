"""Multiple choice: which option did the model mean?  A letter, or nothing: no scorer here guesses.

Knows letters and the texts of options; not what the question was.  The right letter is the
sample's only reference, and option 0 is "A".  An answer without a letter counts as wrong
(``Score.parsed`` tells it apart); a sample without a reference stays unscored.

``letter`` is a plain reading for anybody: "B", "(b)", "B. red", "The answer is b.", "red", and
``\\boxed{B}``.  A benchmark's own reading makes a scorer by ``scorer(name, read)``.
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


def scorer(name: str, read: Reading, cases: fixed.Cases | None = None, version: int = 1) -> Scorer:
    """1 where the letter that ``read`` hears is the reference, else 0."""
    return Scorer(
        name=name,
        function=lambda record: compare(hear(record, read), record.sample),
        version=version,
        cases=cases,
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


def read_letter(text: str, options: Options) -> str:
    """A letter that stands alone or in front, one that is announced, or an option's whole text;
    of an answer with a box, what stands in the last one.

    A small letter is read where nothing follows it but punctuation: "the answer is a dog" is none.
    """
    said = _boxed(text).strip()
    alone = _ALONE.fullmatch(said) or _SMALL_ALONE.fullmatch(said)
    announced = (*_ANNOUNCED.findall(said), *_SMALL_ANNOUNCED.findall(said))
    letters = {alone[1]} if alone else set(announced)
    known = {letter.upper() for letter in letters} & options.keys()
    if not known:
        spoken = said.rstrip(".").casefold()
        known = {letter for letter, option in options.items() if option.casefold() == spoken}
    return known.pop() if len(known) == 1 else ""


def _boxed(text: str) -> str:
    r"""What stands in the last ``\boxed{...}``, without commands such as ``\text{...}``; the text
    itself where there is none."""
    begun = [box.end() for box in _BOX.finditer(text)]
    inside = text[begun[-1] :] if begun else ""
    depth = 1
    for at, mark in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        if not depth:
            return _COMMAND.sub("", inside[:at]).replace("{", "").replace("}", "")
    return text


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_COMMAND = re.compile(r"\\[a-zA-Z]+\s*|[$]")
_ALONE = re.compile(r"\W*([A-Z])(?:\W*|[.):,*]+\s.*)", re.DOTALL)
_SMALL_ALONE = re.compile(r"\W*([a-z])(?:\W*|[.):]\s.*)", re.DOTALL)
_CUE = r"\b(?i:answer|option|choice|letter)\W*(?i:is|would be|should be|must be)?\W*"
_ANNOUNCED = re.compile(_CUE + r"\b([A-Z])\b")
_SMALL_ANNOUNCED = re.compile(_CUE + r"\b([a-z])(?=[*_\s]*(?:$|[.,;:!?)\]<\"'\n]))")

letter = scorer("letter", read_letter, fixed.shared("choice"), version=2)
