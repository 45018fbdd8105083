"""Did the model say yes or no, and was that right?  (MME, Fu et al. 2023.)

Knows three ways of hearing a yes, nothing of pairs of questions or sub-tasks.  The right answer
is the sample's only reference, "Yes" or "No".  An answer that is neither counts as wrong.

* ``official``: MME's own script: the first four characters, in lower case, hold "yes", else "no".
* ``lmms``: lmms-eval: the same after stripping spaces and periods; a lone "y" or "n" will do.
* ``vlmevalkit``: one of the two words anywhere, and not both (its next step would ask an LLM).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from infimm_eval.scorers.vqa import unmarked
from infimm_eval.types import Record, Score, Scorer


def read_official(text: str) -> str:
    """ "yes", "no" or "".  Leading spaces count ("   yes" is neither), "not" and "know" are no."""
    # The tool's answer files hold one answer a line, so its readme has breaks and tabs removed.
    return _at_the_start(text.replace("\n", "").replace("\t", "").lower())


def read_lmms(text: str) -> str:
    said = text.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(said) or _at_the_start(said)


def read_vlmevalkit(text: str) -> str:
    words = _PERIOD.sub("", unmarked(text.lower()), count=_MOST_PERIODS).split()
    heard = [word for word in ("yes", "no") if word in words]
    return heard[0] if len(heard) == 1 else ""


def scorer(name: str, read: Callable[[str], str]) -> Scorer:
    """1 where ``read`` hears the reference, else 0; without a reference unscored."""

    def score(record: Record) -> Score:
        heard = read(record.text)
        if not record.sample.references:
            return Score(None, heard, parsed=bool(heard))
        right = record.sample.references[0].strip().lower()
        return Score(float(heard == right), heard, parsed=bool(heard))

    return Scorer(name=name, function=score)


official = scorer("official", read_official)
lmms = scorer("lmms", read_lmms)
vlmevalkit = scorer("vlmevalkit", read_vlmevalkit)


_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")
_MOST_PERIODS = 32


def _at_the_start(said: str) -> str:
    return next((word for word in ("yes", "no") if word in said[:4]), "")
