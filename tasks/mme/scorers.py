"""MME's yes or no (Fu et al. 2023) in three readings.  An answer that is neither counts as wrong.

* ``official``: MME's own script: the first four characters, in lower case, hold "yes", else "no".
* ``lmms``: lmms-eval: the same after stripping spaces and periods; a lone "y" or "n" will do.
* ``vlmevalkit``: one of the two words anywhere, and not both (its next step would ask an LLM).
"""

from __future__ import annotations

import re

from infimm_eval.scorers import fixed, yesno
from infimm_eval.scorers.vqa import unmarked


def read_official(text: str) -> str:
    """ "yes", "no" or "".  Leading spaces count ("   yes" is neither), "not" and "know" are no."""
    # The tool's answer files hold one answer a line, so its readme has breaks and tabs removed.
    return _at_the_start(text.replace("\n", "").replace("\t", "").lower())


def read_lmms(text: str) -> str:
    """ "yes", "no" or "".  Periods anywhere and spaces at the ends do not count."""
    said = text.lower().strip().replace(".", "")
    return {"y": "yes", "n": "no"}.get(said) or _at_the_start(said)


def read_vlmevalkit(text: str) -> str:
    """The one of "yes" and "no" that is a word of the answer, or ""."""
    words = _PERIOD.sub("", unmarked(text.lower()), count=_MOST_PERIODS).split()
    heard = [word for word in ("yes", "no") if word in words]
    return heard[0] if len(heard) == 1 else ""


_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")
_MOST_PERIODS = 32


def _at_the_start(said: str) -> str:
    return next((word for word in ("yes", "no") if word in said[:4]), "")


_cases = fixed.beside(__file__)
official = yesno.scorer("official", read_official, _cases)
lmms = yesno.scorer("lmms", read_lmms, _cases)
vlmevalkit = yesno.scorer("vlmevalkit", read_vlmevalkit, _cases)
