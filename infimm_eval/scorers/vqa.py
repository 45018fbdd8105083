"""VQA accuracy (Antol et al. 2015): an answer is right if three of the people asked said so.

Knows the three dialects of the rule in use, not which benchmark speaks which.

All dialects agree on the count (``agreement``) and differ in how texts are made comparable:

* ``always``: both sides are normalised.  OpenFlamingo, IDEFICS, lmms-eval, VLMEvalKit.
* ``official``: GT-Vision-Lab's script as it stands, which normalises only where people disagree;
  against unanimous answers the prediction has to match byte for byte ("Yes" is not "yes").
* ``evalai``: the answer processor of MMF/Pythia (TextVQA, EvalAI uploads): lower-cases, deletes
  commas and question marks, and splits "'s" off before it normalises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from infimm_eval.scorers import fixed
from infimm_eval.types import Record, Score, Scorer


def agreement(said: str, people: Sequence[str]) -> float:
    """The mean, over all ways of leaving one person out, of min(1, matches among the rest / 3).

    People are told apart by position, so that equal answers stay different people.
    """
    asked, same = len(people), people.count(said)
    thirds = same * min(3, same - 1) + (asked - same) * min(3, same)
    return thirds / (3 * asked)


def normalise(text: str) -> str:
    """The official normalisation: marks, periods, number words, articles, contractions."""
    bare = unmarked(one_line(text))
    return _words(_PERIOD.sub("", bare, count=_MOST_PERIODS))


def normalise_evalai(text: str) -> str:
    """The normalisation of MMF's ``EvalAIAnswerProcessor``."""
    return normalise(text.lower().replace(",", "").replace("?", "").replace("'s", " 's"))


def one_line(text: str) -> str:
    """Breaks and tabs as spaces, as the official script puts them."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def unmarked(text: str) -> str:
    """Delete a mark that has a space at its side anywhere, else put a space in its place.

    A comma between digits anywhere deletes every mark: "1,000 a-b" becomes "1000 ab".
    """
    bare = text
    thousands = _THOUSANDS.search(text) is not None
    for mark in _MARKS:
        if mark in text:
            beside_space = f"{mark} " in text or f" {mark}" in text
            bare = bare.replace(mark, "" if thousands or beside_space else " ")
    return bare


def accuracy(
    comparable: Callable[[str], str],
    verbatim: Callable[[Sequence[str]], bool] | None = None,
) -> Callable[[Record], Score]:
    """VQA accuracy over texts made ``comparable``; where ``verbatim`` says so of the (stripped)
    references, over the texts as they are.  Without references an answer stays unscored.

    ``comparable`` is called for every text: where it is slow, it had better remember."""

    def score(record: Record) -> Score:
        people = record.sample.references
        read = comparable
        if verbatim is not None and verbatim([on_one_line(person) for person in people]):
            read = on_one_line
        said = read(record.text)
        if not people:
            return Score(None, said)
        return Score(agreement(said, [read(person) for person in people]), said)

    return score


def unanimous(people: Sequence[str]) -> bool:
    """Whether all people said the same."""
    return len(set(people)) == 1


# Of two million answers most are a few thousand different ones, and two dialects normalise alike.
_remembered = lru_cache(maxsize=2**13)
normalised = _remembered(normalise)
on_one_line = _remembered(one_line)

_cases = fixed.shared("vqa")
always = Scorer(name="always", function=accuracy(normalised), cases=_cases)
official = Scorer(name="official", function=accuracy(normalised, verbatim=unanimous), cases=_cases)
evalai = Scorer(name="evalai", function=accuracy(_remembered(normalise_evalai)), cases=_cases)


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32
"""The official call passes the flag re.UNICODE where the count belongs: only 32 periods go."""


def _words(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


_ARTICLES = frozenset({"a", "an", "the"})

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}

_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't
    what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd
    you'd've you'll you're you've
"""

_CONTRACTIONS = {
    word[:at] + word[at + 1 :]: word
    for word in _CONTRACTED.split()
    for at, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
"""Words with one apostrophe missing.  The official table has a few keys more that can never match
(they hold capitals) or change nothing."""
