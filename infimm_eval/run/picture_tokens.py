"""How many tokens a model reads of a picture, of the query's and of a shot's, as it was measured.

Knows what answers note of their prompts; knows no processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import fmean

from infimm_eval import logs
from infimm_eval.shots.controls import slots
from infimm_eval.types import Model

NOTE = "picture_tokens"
"""What an answer calls the tokens of its prompt's pictures, a number each, in order."""


LOOKED_AT = 2000
"""Prompts that are enough for a mean."""


def measured(log: logs.Log, roster: int, model: Model) -> Mapping[str, int | None] | None:
    """The mean over a cell's first pictures, ``{"query": n, "shot": n}``, as its prompts had them,
    ``None`` for a kind that they do not show; else what the model says of itself.  ``None`` where
    nobody can tell, as of a served model."""
    query: list[int] = []
    shots: list[int] = []
    for sample, answer in islice(log.answered(roster), LOOKED_AT):
        counts: Sequence[int] = answer.notes.get(NOTE, ()) if answer else ()
        first = max(0, len(counts) - len(slots(sample)))
        shots += counts[:first]
        query += counts[first:]
    if not query and not shots:
        return getattr(model, "picture_tokens", None)
    return {"query": _mean(query), "shot": _mean(shots)}


def _mean(counts: Sequence[int]) -> int | None:
    return round(fmean(counts)) if counts else None
