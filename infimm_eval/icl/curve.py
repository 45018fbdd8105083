"""A benchmark over numbers of shots: its points, the steps between them, the area under them.

Knows plain cells alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from statistics import fmean

from infimm_eval.icl.contrasts import difference, zero_shot
from infimm_eval.icl.evidence import Evidence, Spot

NEAR = 1.0
"""Points below the peak that still count as there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of shots."""

    shots: int
    value: float
    ci95: tuple[float, float] | None
    seeds: int
    n: int
    gain: float | None = None
    """Over the point before, paired."""
    gain_ci95: tuple[float, float] | None = None
    picture_tokens: dict[str, int | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The headline of one benchmark over shots, in one selection."""

    task: str
    title: str
    model: str
    headline: str
    support: str
    points: tuple[Point, ...]
    area: float
    """Trapezoids over log2(1 + shots), divided by its range: a mean of the headline."""
    peak: int
    """The shots of the highest point."""
    near_peak: int
    """The fewest shots within a point of it."""
    zero_shot: str
    """What 0 shots means here; "" where the curve has no such point."""


def curves(spots: Sequence[Spot]) -> list[Curve]:
    """One for every benchmark and selection that has two points or more."""
    groups: dict[tuple[str, str], list[Spot]] = {}
    for spot in spots:
        if spot.first.shots:
            groups.setdefault((spot.first.task, spot.first.support or ""), []).append(spot)
    made = [_curve(sorted(group, key=lambda spot: spot.first.shots)) for group in groups.values()]
    return [curve for curve in made if curve is not None]


def _curve(spots: Sequence[Spot]) -> Curve | None:
    first = spots[0].first
    found = [list(spots[0].bare.values())] if spots[0].bare else []
    found += [list(spot.plain.values()) for spot in spots]
    found = [cells for cells in found if all(ev.cell.value is not None for ev in cells)]
    if len(found) < 2:
        return None
    points = [_point(found[0], None), *(_point(new, base) for base, new in pairwise(found))]
    peak = max(points, key=lambda point: point.value)
    return Curve(
        task=first.task,
        title=first.title,
        model=first.model,
        headline=first.headline,
        support=first.support or "",
        points=tuple(points),
        area=area([(point.shots, point.value) for point in points]),
        peak=peak.shots,
        near_peak=next(p.shots for p in points if p.value >= peak.value - NEAR),
        zero_shot=zero_shot(spots[0]) if spots[0].bare else "",
    )


def area(points: Sequence[tuple[int, float]]) -> float:
    """Of points in order of their shots, two or more."""
    places = [(log2(1 + shots), value) for shots, value in points]
    under = sum((b - a) * (low + high) / 2 for (a, low), (b, high) in pairwise(places))
    return under / (places[-1][0] - places[0][0])


def _point(cells: Sequence[Evidence], before: Sequence[Evidence] | None) -> Point:
    bounds = [ev.cell.ci95 for ev in cells if ev.cell.ci95 is not None]
    gain = _gain(before, cells) if before else None
    tokens = cells[0].cell.picture_tokens
    return Point(
        shots=cells[0].cell.shots,
        value=fmean(ev.cell.value or 0.0 for ev in cells),
        ci95=(fmean(b[0] for b in bounds), fmean(b[1] for b in bounds)) if bounds else None,
        seeds=len(cells),
        n=max(ev.cell.n for ev in cells),
        gain=gain[0] if gain else None,
        gain_ci95=gain[1] if gain else None,
        picture_tokens=dict(tokens) if tokens else None,
    )


def _gain(
    before: Sequence[Evidence], after: Sequence[Evidence]
) -> tuple[float, tuple[float, float]] | None:
    """Over the seeds that both have."""
    shared = {ev.cell.seed for ev in before} & {ev.cell.seed for ev in after}
    new, base = ([ev for ev in cells if ev.cell.seed in shared] for cells in (after, before))
    found = difference(new, base) if shared else None
    return (found.value, found.interval) if found else None
