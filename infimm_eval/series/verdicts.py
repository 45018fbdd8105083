"""From the runs of a series to what is said of its checkpoints.

Reads logs and baselines; knows how scores are compared no better than ``judging`` tells it, and
asks nothing of any model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from infimm_eval import compare, stats
from infimm_eval.compare.verdicts import WORTH_SEEING, disagreements
from infimm_eval.errors import UsageError
from infimm_eval.series import planning
from infimm_eval.series.folder import Agreed, Point, SeriesFolder
from infimm_eval.series.judging import Terms, judge, judge_early
from infimm_eval.series.scores import Changes, changes
from infimm_eval.types import Unit

Spot: TypeAlias = tuple[str, int]
"""Task and shots: what has a curve, and a part of the error rate."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One run at one spot, its seeds taken together sample by sample."""

    cell: compare.Cell
    """The first seed's."""
    value: float
    units: Sequence[Unit]


def evidence(path: Path, seeds: Sequence[int]) -> dict[Spot, Evidence]:
    """The plain cells of a run's folder or a baseline file, by spot; those without a figure are
    left out."""
    by_spot: dict[Spot, list[compare.Cell]] = defaultdict(list)
    for cell in compare.load(path):
        if not cell.control and cell.value is not None:
            by_spot[cell.task, cell.shots].append(cell)
    found = {}
    for spot, cells in by_spot.items():
        ours = [cell for cell in cells if cell.seed in seeds] or cells[:1]
        values = [cell.value for cell in ours if cell.value is not None]
        units = stats.averaged([cell.units for cell in ours])
        found[spot] = Evidence(ours[0], fmean(values), units)
    return found


class Jury:
    """What is said of every checkpoint, and at which thresholds, over a whole series."""

    def __init__(self, series: SeriesFolder, spots: Sequence[Spot]) -> None:
        """``UsageError`` where the baseline has no figure for one of the ``spots``."""
        self.series, self.spots = series, spots
        agreed = series.agreed
        self.terms = Terms(
            planned=agreed.planned,
            benchmarks=len(spots),
            alpha=agreed.alpha,
            best=agreed.best,
            looks=agreed.looks,
        )
        self._tolerances = compare.Tolerances().updated(agreed.tolerance)
        self._changes: dict[tuple[str, Spot], Changes] = {}
        self.base: Mapping[Spot, Evidence] = {}
        if agreed.baseline is not None:
            self.base = evidence(Path(agreed.baseline), agreed.seeds)
            _require_spots(agreed, self.base, spots)

    def whole(self, point: Point) -> list[dict[str, Any]]:
        """The verdicts on a checkpoint that was asked whole, which becomes the next one judged."""
        judged = self._judged
        ours = evidence(self.series.run_folder(point), self.series.agreed.seeds)
        if not self.base and not judged:
            point.order = 0
            return [_said(spot, "baseline") for spot in self.spots]
        point.order = len(judged)
        base = self.base or self._first
        return [self._whole(spot, base.get(spot), ours.get(spot), point) for spot in self.spots]

    def early(self, point: Point, look: int, spots: Sequence[Spot]) -> list[dict[str, Any]]:
        """What may be said of a checkpoint at its ``look``-th look, 0 the first."""
        ours = evidence(self.series.run_folder(point), self.series.agreed.seeds)
        return [self._early(spot, ours.get(spot), look) for spot in spots]

    def close(self, point: Point) -> None:
        """Take a checkpoint that was decided early among those that were judged."""
        point.order = len(self._judged)

    @property
    def _judged(self) -> list[Point]:
        judged = [point for point in self.series.points if point.order is not None]
        return sorted(judged, key=lambda point: point.order or 0)

    @property
    def _first(self) -> Mapping[Spot, Evidence]:
        """Without a baseline, the first checkpoint is one."""
        first = self._judged[0]
        return evidence(self.series.run_folder(first), self.series.agreed.seeds)

    def _whole(
        self, spot: Spot, base: Evidence | None, ours: Evidence | None, point: Point
    ) -> dict[str, Any]:
        if reason := _incomparable(base, ours):
            return _said(spot, "incomparable", reason=reason)
        assert base is not None and ours is not None
        earlier = [(p, v) for p in self._judged if p is not point for v in p.verdicts
                   if (v["task"], v["shots"]) == spot and "threshold" in v]  # fmt: skip
        try:
            runs = [self._against(base, p, spot) for p, _ in earlier]
            runs.append(changes(base.units, ours.units, ours.cell.scale))
            allowed, worth = self._drops(spot, base)
            settled = [verdict["threshold"] for _, verdict in earlier]
            found = judge(runs, self.terms, allowed=allowed, worth=worth, settled=settled)[-1]
        except UsageError as error:
            return _said(spot, "incomparable", reason=str(error))
        return _said(
            spot,
            found.verdict,
            reference=earlier[found.reference][0].step if found.reference >= 0 else None,
            difference=found.difference.value,
            score=found.score,
            threshold=found.threshold,
            interval=list(found.interval),
            allowed=allowed,
            worth=worth,
            asked=runs[-1].asked,
        )

    def _early(self, spot: Spot, ours: Evidence | None, look: int) -> dict[str, Any]:
        base = self.base.get(spot)
        if reason := _incomparable(base, ours):
            return _said(spot, "incomparable", reason=reason)
        assert base is not None and ours is not None
        allowed, worth = self._drops(spot, base)
        run = changes(base.units, ours.units, ours.cell.scale)
        found = judge_early(run, self.terms, look, allowed=allowed, worth=worth)
        return _said(
            spot,
            found.verdict,
            reference=None,
            difference=found.difference.value if found.difference else None,
            interval=list(found.interval) if found.interval else None,
            allowed=allowed,
            worth=worth,
            asked=found.asked,
        )

    def _against(self, base: Evidence, point: Point, spot: Spot) -> Changes:
        key = point.run, spot
        if key not in self._changes:
            theirs = evidence(self.series.run_folder(point), self.series.agreed.seeds)[spot]
            self._changes[key] = changes(base.units, theirs.units, theirs.cell.scale)
        return self._changes[key]

    def _drops(self, spot: Spot, base: Evidence) -> tuple[float, float]:
        """The drop that is allowed, and the one worth seeing, in points of the headline."""
        allowed = self._tolerances.of(*spot).drop(base.value)
        usual = WORTH_SEEING.drop(base.value) or WORTH_SEEING.amount * base.cell.scale
        return allowed, allowed or planning.worth_seeing(base.units, usual, base.cell.scale)


def _require_spots(agreed: Agreed, base: Mapping[Spot, Evidence], spots: Sequence[Spot]) -> None:
    for task, shots in spots:
        if (task, shots) not in base:
            have = ", ".join(f"{name} at {count}" for name, count in base) or "nothing"
            raise UsageError(
                f"the baseline {agreed.baseline} has no figure of {task} at {shots} shots (it has "
                f"{have}); run it there too, or leave it out"
            )


def _incomparable(base: Evidence | None, ours: Evidence | None) -> str:
    """Why two runs cannot be held against each other; empty where they can."""
    if ours is None:
        return "nothing could be scored"
    if base is None:
        return "the first checkpoint has no figure to compare with"
    differing = [*disagreements(base.cell, ours.cell)]
    return f"measured under different settings: {'; '.join(differing)}" if differing else ""


def _said(spot: Spot, verdict: str, **more: Any) -> dict[str, Any]:
    return {"task": spot[0], "shots": spot[1], "verdict": verdict, **more}
