"""VL-ICL Bench's scorers: is what was said, cut off as its code does, exactly the answer?

Knows texts alone; which of the rules a task takes is the task's.
Source: ``evals/eval.py`` of https://github.com/ys-zong/VL-ICL at 1cc60bc.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from infimm_eval.scorers import fixed
from infimm_eval.types import Record, Score, Scorer


def cut(said: str) -> str:
    """Up to the first line break, or where there is none to the first full stop; a text that
    begins with one stays whole."""
    said = said.strip()
    end = said.find("\n")
    if end <= 0:
        end = said.find(".")
    return said[:end] if end > 0 else said


def whole(said: str) -> str:
    """All of it, in lower case."""
    return cut(said).lower()


def number(said: str) -> str:
    """The first digits; a sign before them is lost, as in the original."""
    found = re.search(r"\d+", cut(said))
    return found.group() if found else ""


def yes_or_no(said: str) -> str:
    """``no`` wherever no ``yes`` is in it: silence is ``no`` too, as in the original."""
    return "yes" if "yes" in whole(said) else "no"


def scorer(name: str, read: Callable[[str], str]) -> Scorer:
    """1 where what is read equals the reference in lower case, else 0; unscored without one."""

    def score(record: Record) -> Score:
        heard = read(record.text)
        if not record.sample.references:
            return Score(None, heard, parsed=bool(heard))
        right = record.sample.references[0].lower()
        return Score(float(heard == right), heard, parsed=bool(heard))

    return Scorer(name=name, function=score, cases=fixed.shared("vl_icl"))


exact = scorer("exact", whole)
first_number = scorer("first-number", number)
yes_no = scorer("yes-in-text", yes_or_no)
