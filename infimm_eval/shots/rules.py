"""Rules by which a benchmark chooses its own shots (``Task.support``): VL-ICL Bench's.

Each is given a query, every example, the number of shots and the query's own chance, and refuses
more shots than there are.  Knows samples and their tags; knows no file and no prompt.
Source: ``utils/ICL_utils.py`` of https://github.com/ys-zong/VL-ICL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from infimm_eval.errors import UsageError
from infimm_eval.shots.selection import in_line
from infimm_eval.types import Sample


def by_class(query: Sample, pool: Sequence[Sample], count: int, rng: Random) -> list[Sample]:
    """``count`` pictures of the query's class and of one other by chance, in turns; which of the
    two comes first is tossed.  The examples are those that the query brings (tag ``query``)."""
    shown: dict[str, list[Sample]] = {}
    for example in pool:
        if example.tags["query"] == query.id:
            shown.setdefault(example.target, []).append(example)
    others = [name for name in shown if name != query.target]
    if query.target not in shown or not others:
        raise UsageError(f"question {query.id} brings no examples of {query.target!r} and another")
    pair = [query.target, rng.choice(others)]
    if rng.random() < 0.5:
        pair.reverse()
    _require(
        count, min(len(shown[name]) for name in pair), f"pictures a class, question {query.id}"
    )
    return [shown[name][n] for n in range(count) for name in pair]


def in_pairs(query: Sample, pool: Sequence[Sample], count: int, rng: Random) -> list[Sample]:
    """``count`` pairs of examples, first of the kind ``same``, then its ``diff``."""
    kinds: dict[str, dict[str, Sample]] = {"same": {}, "diff": {}}
    for example in pool:
        kinds[example.tags["kind"]][example.tags["pair"]] = example
    _require(count, len(kinds["same"]), "pairs of examples")
    chosen = islice(in_line([*kinds["same"].values()], rng), count)
    return [part for same in chosen for part in (same, kinds["diff"][same.tags["pair"]])]


def by_operator(query: Sample, pool: Sequence[Sample], count: int, rng: Random) -> list[Sample]:
    """The usual draw, with the answers that the query's operator gives (a tag of its name)."""
    _require(count, len(pool), "examples")
    operator = query.tags["operator"]
    return [
        replace(shot, id=f"{shot.id}|{operator}", target=answer, references=(answer,))
        for shot in islice(in_line(pool, rng), count)
        for answer in (shot.tags[operator],)
    ]


def _require(count: int, there: int, what: str) -> None:
    if count > there:
        raise UsageError(f"{count} shots asked for, there are {there} {what}; use fewer --shots")
