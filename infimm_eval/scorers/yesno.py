"""Yes/no questions: did the model say yes or no, and was that right?

Knows nothing of pairs of questions.  The right answer is the sample's only reference, "Yes" or
"No", in either case.  An answer that is neither counts as wrong; a sample without a reference
stays unscored.

``plain`` is a reading for anybody; a benchmark's own makes a scorer by ``scorer(name, read)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from infimm_eval.scorers import fixed
from infimm_eval.types import Record, Score, Scorer


def read_plain(text: str) -> str:
    """The one of "yes" and "no" that is a word of the answer, in whatever case; "" for neither and
    for both."""
    heard = set(_WORDS.findall(text.lower()))
    return str(heard.pop()) if len(heard) == 1 else ""


def scorer(name: str, read: Callable[[str], str], cases: fixed.Cases | None = None) -> Scorer:
    """1 where ``read`` hears the reference, else 0; without a reference unscored."""

    def score(record: Record) -> Score:
        heard = read(record.text)
        if not record.sample.references:
            return Score(None, heard, parsed=bool(heard))
        right = record.sample.references[0].strip().lower()
        return Score(float(heard == right), heard, parsed=bool(heard))

    return Scorer(name=name, function=score, cases=cases)


_WORDS = re.compile(r"\b(?:yes|no)\b")

plain = scorer("yes-no", read_plain, fixed.shared("yesno"))
