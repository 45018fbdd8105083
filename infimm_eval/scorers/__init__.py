"""Scorers: each reads answers and says how good they are, one score per record, in order.

A scorer reads a sample's references, options, target and tags; it has never heard of a benchmark,
a model or a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

from infimm_eval.errors import InfimmEvalError
from infimm_eval.packed import Packed
from infimm_eval.types import (
    Answer,
    CorpusFunction,
    Record,
    Rubric,
    Sample,
    Score,
    Scorer,
    Scoring,
)

FAILED = "the scorer failed"
"""How ``read_as`` begins of an answer that a scorer could not score."""


def learn(scorer: Scorer, split: Iterable[Sample]) -> Any:
    """What the scorer has to know of the whole split, a JSON value; mostly nothing, ``None``."""
    function = scorer.function
    if isinstance(function, CorpusFunction) and function.learn is not None:
        return function.learn(split)
    return None


def score(scorer: Scorer, records: Iterable[Record], learned: Any = None) -> Scoring:
    """Every record's score by rules.  ``TypeError`` for a judge's rubric, which takes a model."""
    function = scorer.function
    if isinstance(function, Rubric):
        raise TypeError(f"{scorer.name} is a judge's rubric; see run.model_graded")
    if isinstance(function, CorpusFunction):
        return function.score(records, learned)
    return Scoring(Packed(Score, map(score_one(scorer), records)))


def score_one(scorer: Scorer) -> Callable[[Record], Score]:
    """A scorer that looks at one answer at a time, as a function that always gives a score: where
    the scorer's own fails, that answer stays unscored and says why, and the others do not know."""
    function: Any = scorer.function

    def safely(record: Record) -> Score:
        try:
            made = function(record)
        except InfimmEvalError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is of this answer
            said = " ".join(str(error).split())[:100]
            return Score(None, f"{FAILED}: {type(error).__name__}: {said}")
        if isinstance(made, Score) and (made.value is None or _is_number(made.value)):
            return made
        return Score(None, f"{FAILED}: it gave {str(made)[:60]!r}, no Score of a number")

    return safely


def reads(scorer: Scorer | None) -> Callable[[Record], str]:
    """How a scorer reads an answer, so that equal ones are the same; where it looks at no answer by
    itself or says nothing, small letters and single spaces."""
    if scorer is None or isinstance(scorer.function, CorpusFunction | Rubric):
        return lambda record: _folded(record.text)
    scored = score_one(scorer)

    def read(record: Record) -> str:
        heard = scored(record).read_as
        return _folded(record.text) if not heard or heard.startswith(FAILED) else heard

    return read


def reads_text(scorer: Scorer | None) -> Callable[[Sample, str], str]:
    """The same of any text, taken as the answer to a sample."""
    read = reads(scorer)
    return lambda sample, text: read(Record(sample, Answer(sample.id, text), text))


def reads_target(scorer: Scorer | None) -> Callable[[Sample], str]:
    """The same of the answer that a shot shows."""
    read = reads_text(scorer)
    return lambda shot: read(shot, shot.target)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)
