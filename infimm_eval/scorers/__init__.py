"""Rulers: each reads answers and says how good they are, one score per record, in order.

A ruler reads a sample's references, options, target and tags; it has never heard of a benchmark,
a model or a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from infimm_eval.packed import Packed
from infimm_eval.types import Record, Sample, Score, Scoring


@dataclass(frozen=True, slots=True)
class Each:
    """A ruler that looks at one answer at a time, as most do, so that several share one reading
    of the log.  One that may lack something (an optional package) is a function of all records
    instead: what that raises is noted, and the other rulers stand without it."""

    rule: Callable[[Record], Score]

    def __call__(self, records: Iterable[Record], split: Callable[[], Iterable[Sample]]) -> Scoring:
        return Scoring(Packed(Score, map(self.rule, records)))
