"""Which checkpoint of a series is best, how surely, and which samples turned on the way.

Reads logs; it refuses to raise alarms: those are ``verdicts``'.
"""

from __future__ import annotations

import heapq
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import NormalDist

from infimm_eval.errors import UsageError
from infimm_eval.logs import Cell, Entry, Log
from infimm_eval.series.folder import Point, SeriesFolder
from infimm_eval.series.scores import changes, difference
from infimm_eval.series.verdicts import Evidence, Spot, evidence

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


def best(series: SeriesFolder, spot: Spot) -> Best | None:
    """Of the checkpoints that were asked whole; ``None`` where there is none."""
    whole = [point for point in series.points if point.state == "whole"]
    found = {p.step: e for p in whole if (e := _at(series, p, spot)) is not None}
    if not found:
        return None
    step = max(found, key=lambda step: (found[step].value, -step))
    pairs = len(found) * (len(found) - 1) / 2
    reach = NormalDist().inv_cdf(1 - 0.05 / max(1.0, pairs))
    rivals = []
    for other, theirs in found.items():
        try:
            gap = difference(changes(found[step].units, theirs.units, theirs.cell.scale))
        except UsageError:  # asked under other samples: nothing tells them apart
            rivals.append(other)
            continue
        if other != step and gap.drop(0.0) <= reach:
            rivals.append(other)
    return Best(step, found[step].value, tuple(sorted(rivals)))


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


def _at(series: SeriesFolder, point: Point, spot: Spot) -> Evidence | None:
    return evidence(series.run_folder(point), series.agreed.seeds).get(spot)


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
        references=tuple(map(str, sample.references))[:3],
        before=(before.said or "")[:200],
        after=(after.said or "")[:200],
        change=change,
        picture=f"data:image/webp;base64,{b64encode(webp).decode()}" if webp else "",
    )
