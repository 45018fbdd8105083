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
from infimm_eval.series.scores import Changes, changes, difference
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


class Tables:
    """Every run of a series against one base, read once: small beside the answers behind them.

    The base is the baseline, or, without one, the first checkpoint that was asked whole.
    """

    def __init__(self, series: SeriesFolder) -> None:
        self.series = series
        self._base: dict[Spot, Evidence] = {}
        self._read: dict[str, dict[Spot, Changes | str]] = {}

    @property
    def base(self) -> Mapping[Spot, Evidence]:
        """By spot; empty while there is nothing to compare with."""
        if not self._base:
            agreed = self.series.agreed
            if agreed.baseline is not None:
                self._base = evidence(Path(agreed.baseline), agreed.seeds)
            elif first := _first(self.series.points):
                self._base = evidence(self.series.run_folder(first), agreed.seeds)
        return self._base

    def of(self, point: Point) -> Mapping[Spot, Changes | str]:
        """A checkpoint's changes by spot, or why it cannot be compared there."""
        if point.run in self._read:
            return self._read[point.run]
        ours = evidence(self.series.run_folder(point), self.series.agreed.seeds)
        found = {spot: _paired(base, ours.get(spot)) for spot, base in self.base.items()}
        if point.done:
            self._read[point.run] = found
        return found


class Jury:
    """What is said of every checkpoint, and at which thresholds, over a whole series."""

    def __init__(self, tables: Tables, spots: Sequence[Spot]) -> None:
        """``UsageError`` where the baseline has no figure for one of the ``spots``."""
        self.tables, self.series, self.spots = tables, tables.series, spots
        agreed = self.series.agreed
        self.terms = Terms(
            planned=agreed.planned,
            benchmarks=len(spots),
            alpha=agreed.alpha,
            best=agreed.best,
            looks=agreed.looks,
        )
        self._tolerances = compare.Tolerances().updated(agreed.tolerance)
        if agreed.baseline is not None:
            _require_spots(agreed, tables.base, spots)

    def whole(self, point: Point) -> list[dict[str, Any]]:
        """The verdicts on a checkpoint that was asked whole, which becomes the next one judged."""
        earlier = self._judged
        point.order = len(earlier)
        if not earlier and self.series.agreed.baseline is None:
            return [_said(spot, "baseline") for spot in self.spots]
        return [self._whole(spot, point, earlier) for spot in self.spots]

    def early(self, point: Point, look: int, spots: Sequence[Spot]) -> list[dict[str, Any]]:
        """What may be said of a checkpoint at its ``look``-th look, 0 the first."""
        found = self.tables.of(point)
        return [self._early(spot, found.get(spot, NOTHING), look) for spot in spots]

    def close(self, point: Point) -> None:
        """Take a checkpoint that was decided early among those that were judged."""
        point.order = len(self._judged)

    @property
    def _judged(self) -> list[Point]:
        judged = [point for point in self.series.points if point.order is not None]
        return sorted(judged, key=lambda point: point.order or 0)

    def _whole(self, spot: Spot, point: Point, judged: Sequence[Point]) -> dict[str, Any]:
        ours = self.tables.of(point).get(spot, NOTHING)
        if isinstance(ours, str):
            return _said(spot, "incomparable", reason=ours)
        earlier = [
            (other, run, verdict["threshold"])
            for other in judged
            for verdict in other.verdicts
            if (verdict["task"], verdict["shots"]) == spot and "threshold" in verdict
            if not isinstance(run := self.tables.of(other).get(spot, NOTHING), str)
        ]
        runs = [*(run for _, run, _ in earlier), ours]
        settled = [threshold for _, _, threshold in earlier]
        allowed, worth = self._drops(spot)
        try:
            found = judge(runs, self.terms, allowed=allowed, worth=worth, settled=settled)[-1]
        except UsageError as error:
            return _said(spot, "incomparable", reason=str(error))
        return _said(
            spot,
            found.verdict,
            reference=earlier[found.reference][0].step if found.reference >= 0 else None,
            difference=found.difference.value,
            from_base=difference(ours).value,
            score=found.score,
            threshold=found.threshold,
            interval=list(found.interval),
            allowed=allowed,
            worth=worth,
            asked=ours.asked,
        )

    def _early(self, spot: Spot, run: Changes | str, look: int) -> dict[str, Any]:
        if isinstance(run, str):
            return _said(spot, "incomparable", reason=run)
        allowed, worth = self._drops(spot)
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

    def _drops(self, spot: Spot) -> tuple[float, float]:
        """The drop that is allowed, and the one worth seeing, in points of the headline."""
        base = self.tables.base[spot]
        allowed = self._tolerances.of(*spot).drop(base.value)
        usual = WORTH_SEEING.drop(base.value) or WORTH_SEEING.amount * base.cell.scale
        return allowed, allowed or planning.worth_seeing(base.units, usual, base.cell.scale)


NOTHING = "nothing could be scored"


def _first(points: Sequence[Point]) -> Point | None:
    """The first that was judged; where nothing is, the first that was asked whole."""
    whole = [point for point in points if point.state == "whole" or point.order is not None]
    return min(whole, key=lambda p: (p.order is None, p.order or 0), default=None)


def _require_spots(agreed: Agreed, base: Mapping[Spot, Evidence], spots: Sequence[Spot]) -> None:
    for task, shots in spots:
        if (task, shots) not in base:
            have = ", ".join(f"{name} at {count}" for name, count in base) or "nothing"
            raise UsageError(
                f"the baseline {agreed.baseline} has no figure of {task} at {shots} shots (it has "
                f"{have}); run it there too, or leave it out"
            )


def _paired(base: Evidence, ours: Evidence | None) -> Changes | str:
    """Ours against the base, or why they cannot be held against each other."""
    if ours is None:
        return NOTHING
    if differing := "; ".join(disagreements(base.cell, ours.cell)):
        return f"measured under different settings: {differing}"
    try:
        return changes(base.units, ours.units, ours.cell.scale)
    except UsageError as error:
        return str(error)


def _said(spot: Spot, verdict: str, **more: Any) -> dict[str, Any]:
    return {"task": spot[0], "shots": spot[1], "verdict": verdict, **more}
