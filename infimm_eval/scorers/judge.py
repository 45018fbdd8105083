"""Model-graded answers: what rubrics share when they ask a judge and read its grade.

Who the judge is, and what it costs, is not its business.  A verdict that is no number from 0 to 1
leaves the answer unscored: it is never a zero.  The rubrics stand with their benchmarks.
"""

from __future__ import annotations

from infimm_eval.errors import UsageError
from infimm_eval.types import Prompt, Record, Sample, Score, Turn


def read_grade(record: Record, verdict: str) -> Score:
    """The verdict's first word as a number from 0 to 1; anything else leaves it unscored."""
    first = (verdict.split() or [""])[0]
    try:
        grade = float(first)
    except ValueError:
        grade = -1.0
    if 0.0 <= grade <= 1.0:
        return Score(grade, first)
    return Score(None, verdict.strip(), parsed=False)


def question_of(sample: Sample) -> str:
    """The question as text; a picture inside it reads as ``<image>``."""
    return "".join(part if isinstance(part, str) else "<image>" for part in sample.question)


def reference_of(sample: Sample) -> str:
    """The right answer, or ``UsageError`` where it is withheld."""
    if not sample.references:
        raise UsageError(
            f"question {sample.id} has no answer to grade against; benchmarks that keep their "
            "answers private are graded by their authors: write a file for them with `submit`"
        )
    return sample.references[0]


def message(text: str) -> Prompt:
    """What a judge is asked: one turn of text."""
    return Prompt("instruct", (Turn("user", (text,)),))
