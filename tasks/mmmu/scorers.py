"""MMMU's rules (Yue et al. 2023) for choices and for open questions, without their dice.

Knows texts, letters and numbers; not subjects, except that the official dice are cast in their
order.  A sample with options is a choice and its reference the right letter; without options it
is an open question and its references are the right answers.  Without references: unscored.

Where the official script finds no letter it draws one.  Here such an answer is wrong and marked
(``Score.parsed``), and ``parts["expected"]`` holds what drawing is worth on average.
``official_seed42`` draws as the script does, for comparison with figures it printed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

from infimm_eval.scorers import fixed
from infimm_eval.scorers.choice import Options, hear, options_of
from infimm_eval.types import CorpusFunction, Record, Sample, Score, Scorer, Scoring


def with_dice(records: Iterable[Record], learned: None = None) -> Scoring:
    """Draw a letter where none was found, seeded and ordered as the official script does:
    subject (``tags["subject"]``) after subject in alphabetical order, samples in the given order.
    """
    records = list(records)
    scores = [_judge(record) for record in records]
    dice = random.Random(42)
    for at in sorted(range(len(records)), key=lambda at: records[at].sample.tags["subject"]):
        if not scores[at].parsed:
            drawn = dice.choice(list(options_of(records[at].sample)))
            scores[at] = _compare(drawn, records[at].sample, parsed=False)
    return Scoring(scores)


def _judge(record: Record) -> Score:
    sample = record.sample
    if sample.options:
        heard = hear(record, read_choice)
        return _compare(heard, sample, parsed=bool(heard))
    heard_all = read_open(record.text)
    read_as = " | ".join(dict.fromkeys(map(str, heard_all)))
    if not sample.references:
        return Score(None, read_as)
    value = float(agrees(heard_all, sample.references))
    return Score(value, read_as, parts={"expected": value})


_cases = fixed.beside(__file__)
official = Scorer(name="official", function=_judge, cases=_cases)
official_seed42 = Scorer(
    name="official-seed42", function=CorpusFunction(score=with_dice), cases=_cases
)


def _compare(heard: str, sample: Sample, *, parsed: bool) -> Score:
    if not sample.references:
        return Score(None, heard, parsed=parsed)
    value = float(heard in sample.references)
    expected = value if parsed else 1 / len(sample.options)
    return Score(value, heard, parsed=parsed, parts={"expected": expected})


# ---- choices

_ENDS = ",.!?;:'"
_WORDS_OF_A_SENTENCE = 6


def read_choice(text: str, options: Options) -> str:
    """The letter of the official rule, or "" where the script would draw one.

    Letters in brackets, else letters between spaces, else, in answers of six words or more,
    options whose text occurs; of several, the one that occurs last.
    """
    for mark in _ENDS:
        text = text.strip(mark)
    said = f" {text} "
    spoken = said.lower()
    sentence = len(said.split()) >= _WORDS_OF_A_SENTENCE
    return (
        _last({letter: said.rfind(f"({letter})") for letter in options})
        or _last({letter: said.rfind(f" {letter} ") for letter in options})
        or _last({k: spoken.rfind(option.lower()) for k, option in options.items() if sentence})
    )


def _last(found: dict[str, int]) -> str:
    """The letter with the latest place; the first of those that share it; -1 is no place."""
    letter = max(found, key=found.__getitem__, default="")
    return letter if found.get(letter, -1) >= 0 else ""


# ---- open questions

_CLUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # 1,234,567
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),  # 1.5e-3
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),  # -12, 3.4, .5
)


def read_open(text: str) -> list[str | float]:
    """Everything an open answer may mean: the tails of its lines after a clue such as "is ", and
    each number in them."""
    tails = _tails(text.strip().strip(".").lower())
    numbers = [found for tail in tails for form in _NUMBERS for found in form.findall(tail)]
    return [meaning for said in [*tails, *numbers] for meaning in comparable(said)]


def _tails(text: str) -> list[str]:
    """The shortest tail of each line after any clue; the text itself where no line has one.

    The script also splits at a period before a capital, but lower-cases first, so never does.
    """
    *others, last = text.split("\n")
    shortest = [_shortest_tail(line, _CLUES) for line in others]
    shortest.append(_shortest_tail(last, (*_CLUES, "=")))
    return [tail for tail in shortest if tail and tail not in _TRIVIAL] or [text]


def _shortest_tail(line: str, clues: Sequence[str]) -> str:
    shortest = ""
    for clue in clues:
        if clue in line:
            tail = line.rsplit(clue, 1)[1].strip()
            # An empty tail wins over a longer one, and loses to the next: as in the script.
            if not shortest or len(tail) < len(shortest):
                shortest = tail
    return shortest


def comparable(text: str) -> list[str | float]:
    """A number to two decimals; else lower case, a single character with a space beside it."""
    said = text.strip()
    try:
        return [round(float(said.replace(",", "")), 2)]
    except ValueError:
        said = said.lower()
    return [f" {said}", f"{said} "] if len(said) == 1 else [said]


def agrees(heard: Sequence[str | float], references: Sequence[str]) -> bool:
    """Is a right number among those heard, or a right text inside one that was heard?"""
    right = [meaning for reference in references for meaning in comparable(reference)]
    texts = [meaning for meaning in right if isinstance(meaning, str)]
    return any(
        any(text in said for text in texts) if isinstance(said, str) else said in right
        for said in heard
    )
