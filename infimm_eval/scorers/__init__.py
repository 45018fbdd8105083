"""Rulers: each reads answers and says how good they are, one score per record, in order.

A ruler reads a sample's references, options, target and tags; it has never heard of a benchmark,
a model or a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from infimm_eval.types import Record, Sample, Score, Scorer, Scoring


def each(judge: Callable[[Record], Score]) -> Scorer:
    """Lift a rule for one record to a scorer: most rulers look at one answer at a time."""

    def score(records: Iterable[Record], split: Callable[[], Iterable[Sample]]) -> Scoring:
        return Scoring([judge(record) for record in records])

    return score
