"""Scorers: each reads answers and says how good they are, one score per record, in order.

A scorer reads a sample's references, options, target and tags; it has never heard of a benchmark,
a model or a run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from infimm_eval.packed import Packed
from infimm_eval.types import CorpusFunction, Record, Rubric, Sample, Score, Scorer, Scoring


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
    return Scoring(Packed(Score, map(function, records)))
