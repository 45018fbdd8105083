"""MMBench's letter by rules, as VLMEvalKit and lmms-eval extract it, or by a judge.

``vlmevalkit`` is VLMEvalKit's head, ``vlmevalkit_2023`` its state of December 2023, ``lmms``
lmms-eval's rule.  Where they find nothing the originals ask an LLM, and after that draw at random;
both steps are left out.  ``judged`` asks a judge where ``vlmevalkit`` finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from infimm_eval.scorers import choice, fixed
from infimm_eval.scorers.choice import Options, Reading, compare, hear, options_of
from infimm_eval.scorers.judge import message, question_of
from infimm_eval.types import Decoding, Prompt, Record, Rubric, Score, Scorer

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


def read_lmms(text: str, options: Options) -> str:
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


def undecided(ruled: Reading) -> Rubric:
    """Letters by rule where ``ruled`` finds one, by a judge where it does not: what the authors
    (Liu et al. 2023) do with ChatGPT, in our own words.

    The judge matches an answer to the options and says a letter, or Z where none is meant, which
    counts as wrong.  A reply that starts with anything else leaves the answer unscored.
    """

    def settled(record: Record) -> Score | None:
        letter = hear(record, ruled)
        return compare(letter, record.sample) if letter else None

    def ask(record: Record, attempt: int) -> Prompt:
        options = options_of(record.sample)
        lines = [
            "Which option does the answer mean? Reply with its letter alone, or with Z if it means "
            "none of them or more than one.",
            "",
            "Question: What is in the picture?",
            "Options: A. a teddy bear B. a rabbit C. a cat D. a dog",
            "Answer: a cute stuffed bear",
            "Letter: A",
            "",
            "Question: What is in the picture?",
            "Options: A. a teddy bear B. a rabbit C. a cat D. a dog",
            "Answer: a spider",
            "Letter: Z",
            "",
            f"Question: {question_of(record.sample)}",
            "Options: " + " ".join(f"{letter}. {text}" for letter, text in options.items()),
            f"Answer: {record.text}",
            "Letter:",
        ]
        return message("\n".join(lines))

    def read_letter(record: Record, verdict: str) -> Score:
        said = verdict.strip()[:1]
        if said == "Z" or said in options_of(record.sample):
            return compare(said, record.sample)
        return Score(None, verdict.strip(), parsed=False)

    return Rubric(
        ask=ask,
        read=read_letter,
        decoding=Decoding(max_new_tokens=4),
        tries=3,
        heat=0.5,
        settled=settled,
    )


_cases = fixed.beside(__file__)
vlmevalkit = choice.scorer("vlmevalkit", read_vlmevalkit, _cases)
vlmevalkit_2023 = choice.scorer("vlmevalkit-2023", read_vlmevalkit_2023, _cases)
lmms = choice.scorer("lmms", read_lmms, _cases)
judged = Scorer(name="judged", function=undecided(read_vlmevalkit), cases=_cases)
