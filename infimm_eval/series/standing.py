"""Which checkpoint of a series is best, how surely, and which samples turned on the way.

Reads logs; it refuses to raise alarms: those are ``verdicts``'.
"""

from __future__ import annotations

import heapq
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import NormalDist, fmean

from infimm_eval.errors import UsageError
from infimm_eval.logs import Cell, Entry, Log
from infimm_eval.series.folder import Point, SeriesFolder
from infimm_eval.series.scores import Changes, differences
from infimm_eval.series.verdicts import Spot, Tables

TURNED = 6
"""Samples of a benchmark that are shown where the last checkpoint answers otherwise."""


@dataclass(frozen=True, slots=True)
class Best:
    """The checkpoint with the highest figure at a spot."""

    step: int
    value: float
    rivals: tuple[int, ...]
    """Steps that cannot be told from it: chance makes the best of them at 95 %, over all pairs."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A sample that the last checkpoint scores otherwise than the one before."""

    id: str
    question: str
    references: tuple[str, ...]
    before: str
    after: str
    change: float
    picture: str
    """A data URI; empty where the log has no thumbnail."""


def best(tables: Tables, spot: Spot) -> Best | None:
    """Of the checkpoints that were asked whole; ``None`` where there is none."""
    values = {
        point.step: value
        for point in tables.series.points
        if point.state == "whole" and (value := _value(point, spot)) is not None
    }
    if not values:
        return None
    step = max(values, key=lambda step: (values[step], -step))
    steps = [point for point in tables.series.points if point.step in values]
    runs = {p.step: run for p in steps if isinstance(run := tables.of(p).get(spot), Changes)}
    pairs = len(values) * (len(values) - 1) / 2
    reach = NormalDist().inv_cdf(1 - 0.05 / max(1.0, pairs))
    told = _told_apart(runs, step, reach)
    return Best(step, values[step], tuple(sorted(values.keys() - told - {step})))


def _told_apart(runs: Mapping[int, Changes], step: int, reach: float) -> set[int]:
    """The steps that lie below one by so many standard errors."""
    if step not in runs:
        return set()
    try:
        found = dict(zip(runs, differences(list(runs.values())), strict=True))
    except UsageError:  # no sample is scored in all of them
        return set()
    return {at for at, other in found.items() if other.minus(found[step]).drop(0.0) > reach}


def _value(point: Point, spot: Spot) -> float | None:
    """The mean over its seeds."""
    cells = [c for c in point.cells if (c["task"], c["shots"]) == spot and c["control"] is None]
    values = [cell["value"] for cell in cells if cell["value"] is not None]
    return fmean(values) if values and len(values) == len(cells) else None


def turned(series: SeriesFolder, before: Point, after: Point, spot: Spot) -> list[Turned]:
    """Samples whose score changed between two checkpoints, losses and gains in turn, picked by a
    hash of their ids."""
    with Log(series.run_folder(before)) as old, Log(series.run_folder(after)) as new:
        cells = _cell(old, spot), _cell(new, spot)
        if cells[0] is None or cells[1] is None:
            return []
        scores = dict(old.values(cells[0].key)), dict(new.values(cells[1].key))
        moved = {
            id: value - first
            for id, value in scores[1].items()
            if value is not None and (first := scores[0].get(id)) is not None and first != value
        }
        lost = _some((id for id, change in moved.items() if change < 0), TURNED // 2)
        won = _some((id for id, change in moved.items() if change > 0), TURNED - len(lost))
        ours = {entry.sample.id: entry for entry in old.find(cells[0].key, [*lost, *won])}
        theirs = {entry.sample.id: entry for entry in new.find(cells[1].key, [*lost, *won])}
        return [_turned(ours[id], theirs[id], moved[id], new) for id in (*lost, *won)]


def _cell(log: Log, spot: Spot) -> Cell | None:
    cells = (c for c in log.shown() if (c.task, c.shots) == spot and not c.control)
    return next(cells, None)


def _some(ids: Iterable[str], count: int) -> Sequence[str]:
    return heapq.nsmallest(count, ids, key=lambda id: sha256(id.encode()).digest())


def _turned(before: Entry, after: Entry, change: float, log: Log) -> Turned:
    sample = after.sample
    question = "".join(part for part in sample.question if isinstance(part, str))
    key = after.pictures[-1][0] if after.pictures else ""
    webp = log.picture(key) if key else None
    return Turned(
        id=sample.id,
        question=question[:200] or "(its picture)",
        references=tuple(dict.fromkeys(map(str, sample.references)))[:3],
        before=(before.said or "")[:200],
        after=(after.said or "")[:200],
        change=change,
        picture=f"data:image/webp;base64,{b64encode(webp).decode()}" if webp else "",
    )
