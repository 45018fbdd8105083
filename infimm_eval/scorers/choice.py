"""Which option did the model mean?  A letter, or nothing: no scorer here ever guesses.

Knows letters and the texts of options; not what the question was.  The right letter is the
sample's only reference, and option 0 is "A".  An answer without a letter counts as wrong
(``Score.parsed`` tells it apart); a sample without a reference stays unscored.

* ``letter``: a plain reading for anybody: "B", "(B)", "B. red", "The answer is B", "red".
* ``llava``, ``lmms_scienceqa``: ScienceQA as LLaVA and lmms-eval read it.
* ``vlmevalkit``, ``vlmevalkit_2023``, ``lmms_mmbench``: MMBench's extraction by rules, as of
  VLMEvalKit's head, of its state of December 2023, and of lmms-eval.  Where they find nothing the
  originals ask an LLM, and after that draw at random; both steps are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from string import ascii_uppercase
from typing import TypeAlias

from infimm_eval.types import Content, Image, Record, Sample, Score, Scorer

Options: TypeAlias = Mapping[str, str]
"""Letter to text, in order."""

Reading: TypeAlias = Callable[[str, Options], str]
"""What was said, and the options, to a letter or ""."""


def scorer(name: str, read: Reading) -> Scorer:
    """1 where the letter that ``read`` hears is the reference, else 0."""
    return Scorer(name=name, function=lambda record: compare(hear(record, read), record.sample))


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


# ---- for anybody

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


# ---- ScienceQA

_LLAVA_LETTERS = "ABCDE"
_LLAVA_SENTENCE = re.compile(r"The answer is ([A-Z]).")


def read_llava(text: str, options: Options) -> str:
    """LLaVA's rule.  The sentence needs any one character after the letter, so "The answer is B"
    at the very end is not read.  A letter without an option is an answer, if a wrong one."""
    if len(text) == 1 and text in _LLAVA_LETTERS:
        return text
    if len(text) >= 3 and text[0] in _LLAVA_LETTERS and text[1:3] == ". ":
        return text[0]
    sentences = _LLAVA_SENTENCE.findall(text)
    return str(sentences[0]) if len(sentences) == 1 else ""


def read_lmms_scienceqa(text: str, options: Options) -> str:
    """lmms-eval: a lone letter in either case, or a capital with a period at once behind it."""
    said = text.strip()
    lone = len(said) == 1 and said.isalpha()
    return said[0].upper() if lone or (said[:1].isupper() and said[1:2] == ".") else ""


# ---- MMBench

_API_FAILURE = "Failed to obtain answer via API"
_MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_REFUSALS_2023 = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
)
_REFUSALS = (
    *_REFUSALS_2023,
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_VERBOSE = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)
_FIVE = "ABCDE"
_TAIL = 4
"""How near its end VLMEvalKit's head expects the letter to appear first, in words."""

_BRACKETS = [
    *(("", after) for after in (".", ",", ":", ")", ").")),
    *(("(", after) for after in (")", ").")),
    *((":", after) for after in ("", ",", ".", ")", ").")),
]


def read_vlmevalkit(text: str, options: Options) -> str:
    """VLMEvalKit's head: the one letter among the last four words, "Z" for a refusal, a bold
    "answer is **B**", else the one option whose text occurs in an answer not overly long."""
    if found := _vlmevalkit_letter(text, options):
        return found
    if len(text.lower()) > 2 * sum(map(len, options.values())):
        return ""
    return _mentioned(text, options)


def _vlmevalkit_letter(text: str, options: Options) -> str:
    if _API_FAILURE in text:
        return ""
    if any(refusal in text for refusal in _REFUSALS):
        return "Z"
    words = text.translate(_MARKS).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1 and words.index(letters[0]) >= len(words) - _TAIL:
        return letters[0]
    if not letters and "Z" in words:
        return "Z"
    verbose = _VERBOSE.search(text)
    return verbose[1].upper() if verbose and verbose[1].upper() in options else ""


def read_vlmevalkit_2023(text: str, options: Options) -> str:
    """VLMEvalKit in December 2023: the one letter of A to E anywhere, "E" for a refusal."""
    if any(refusal in text for refusal in _REFUSALS_2023) and _API_FAILURE not in text:
        return "E"
    if _API_FAILURE not in text and (found := _only(_FIVE, text.translate(_MARKS).split())):
        return found
    return _mentioned(text, options)


def read_lmms_mmbench(text: str, options: Options) -> str:
    """lmms-eval: the one bare letter of A to E, unless "A" may be an article; then the one letter
    inside a few kinds of punctuation; then the option whose text occurs."""
    words = text.split()
    if _API_FAILURE not in text:
        article = "A" in words and len(words) > 3
        if (found := _only(_FIVE, words)) and not article:
            return found
        for before, after in _BRACKETS:
            dressed = {f"{before}{letter}{after}": letter for letter in _FIVE}
            if found := _only(dressed, words):
                return dressed[found]
    return _mentioned(text, options)


def _only(wanted: Collection[str], words: Collection[str]) -> str:
    found = [word for word in wanted if word in words]
    return found[0] if len(found) == 1 else ""


def _mentioned(text: str, options: Options) -> str:
    """The one option whose text occurs in what was said, whatever the case."""
    said = text.lower()
    found = [letter for letter, option in options.items() if option.lower() in said]
    return found[0] if len(found) == 1 else ""


letter = scorer("letter", read_letter)
llava = scorer("llava", read_llava)
lmms_scienceqa = scorer("lmms", read_lmms_scienceqa)
vlmevalkit = scorer("vlmevalkit", read_vlmevalkit)
vlmevalkit_2023 = scorer("vlmevalkit-2023", read_vlmevalkit_2023)
lmms_mmbench = scorer("lmms", read_lmms_mmbench)
