"""Scores against the length of answers and the size of pictures, where they move with these.

It refuses to know coordinates and colours; that a score moves is no reason for anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from infimm_eval import stats
from infimm_eval.logs import Cell, Extent, Log
from infimm_eval.report.gather import Run
from infimm_eval.report.protocol import shots_text
from infimm_eval.report.series import Point, Slopes, Track
from infimm_eval.report.tables import Figure
from infimm_eval.types import Unit

LEGEND = (
    "The mean score of a fifth of the samples each. Shown where the interval of the rank"
    " correlation excludes zero, wider than 95 % for each, so that all of them together err in 5 %"
    " of reports. What moves together need not cause each other."
)
_PARTS = 5
_ENOUGH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One benchmark's scores over one size, with their rank correlation."""

    chart: Slopes
    unit: str
    correlation: float
    interval: tuple[float, float]
    n: int


def moves(runs: Sequence[Run]) -> list[Move]:
    """Where the score of a plain cell moves with a size, by run, benchmark and shots."""
    found = [
        (run.name, *sized)
        for run in runs
        for folder, cells in run.folders.items()
        for sized in _sized(folder, cells)
    ]
    confidence = 1 - 0.05 / max(1, len(found))
    made = (_move(*each, confidence) for each in found)
    return [move for move in made if move is not None]


@dataclass(frozen=True, slots=True)
class _Size:
    name: str
    unit: str
    of: Callable[[Extent], int | None]


_SIZES = (
    _Size("answer length", "characters", lambda extent: extent.letters),
    _Size("picture size", "k pixels", lambda e: None if e.pixels is None else e.pixels // 1000),
)


def _sized(folder: Path, cells: Sequence[Cell]) -> Iterator[tuple[Cell, _Size, list[Extent]]]:
    """What a score could move with: sizes that differ, of enough samples."""
    with Log(folder) as log:
        for cell in cells:
            if cell.control is not None:
                continue
            extents = list(log.extents(cell.key))
            for size in _SIZES:
                known = [extent for extent in extents if size.of(extent) is not None]
                if len(known) >= _ENOUGH and len({size.of(extent) for extent in known}) >= _PARTS:
                    yield cell, size, known


def _move(
    name: str, cell: Cell, size: _Size, extents: Sequence[Extent], confidence: float
) -> Move | None:
    sizes = [size.of(extent) or 0 for extent in extents]
    groups = len({extent.group or extent.id for extent in extents})
    values = [extent.value for extent in extents]
    found = stats.rank_correlation(sizes, values, groups, confidence)
    if found is None or found[1][0] <= 0 <= found[1][1]:
        return None
    points = tuple(_points(sizes, extents))
    track = Track(f"{name}, {shots_text(cell.shots)}", points)
    return Move(
        chart=Slopes(cell.title, f"mean score over {size.name}", (track,), doubling=True),
        unit=size.unit,
        correlation=found[0],
        interval=found[1],
        n=len(extents),
    )


def _points(sizes: Sequence[int], extents: Sequence[Extent]) -> Iterator[Point]:
    """The mean score of about a fifth of the samples each; those of one size stay together."""
    order = sorted(range(len(sizes)), key=lambda at: sizes[at])
    cuts = [sizes[order[len(order) * part // _PARTS]] for part in range(1, _PARTS)]
    parts: dict[int, list[int]] = {}
    for at in order:
        parts.setdefault(bisect_right(cuts, sizes[at]), []).append(at)
    for part in parts.values():
        some = [extents[at] for at in part]
        units = [Unit(one.id, one.group or one.id, one.value) for one in some]
        made = Figure(
            value=100 * fmean(one.value for one in some),
            interval=stats.interval(units),
            n=len(some),
        )
        yield Point(round(median(sizes[at] for at in part)), made)
