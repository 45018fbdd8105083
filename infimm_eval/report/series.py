"""What is drawn: figures over shots, over groups of samples, over training steps.

It refuses to know coordinates and colours; the templates draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from infimm_eval.logs import Cell
from infimm_eval.published import Number
from infimm_eval.report.gather import Run, by_spot
from infimm_eval.report.protocol import shots_text
from infimm_eval.report.tables import Figure, against, figure
from infimm_eval.texts import natural


@dataclass(frozen=True, slots=True)
class Point:
    """One figure of a track."""

    x: int
    """Shots, or training steps."""
    figure: Figure


@dataclass(frozen=True, slots=True)
class Track:
    """One run's figures in order of ``x``."""

    name: str
    points: tuple[Point, ...]
    printed: tuple[tuple[int, Number], ...] = ()
    """The same model's published figures at these and further shots."""


@dataclass(frozen=True, slots=True)
class Slopes:
    """One benchmark's headline over shots, a track a run."""

    title: str
    metric: str
    tracks: tuple[Track, ...]
    doubling: bool = False
    """Whether ``x`` is best drawn by its logarithm: 0, 1, 2, 4, 8, 16 and 32 shots."""

    @property
    def flat(self) -> bool:
        """Whether there is one shot count only, so that nothing rises or falls."""
        return len({point.x for track in self.tracks for point in track.points}) == 1


@dataclass(frozen=True, slots=True)
class Series:
    """One run's bars, by group."""

    name: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bars:
    """One benchmark's figure by groups of its samples (sub-tasks, disciplines, answer types)."""

    task: str
    title: str
    key: str
    groups: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def top(self) -> float:
        """The end of the scale: the hundred that no figure exceeds."""
        most = max((v for series in self.series for v in series.values.values()), default=0.0)
        return 100.0 * max(1, math.ceil(most / 100))


def slopes(runs: Sequence[Run]) -> list[Slopes]:
    """One for every benchmark, in the runs' order."""
    titles: dict[str, Cell] = {cell.task: cell for run in runs for cell in run.cells}
    return [
        Slopes(
            cell.title,
            cell.headline,
            tuple(track for run in runs if (track := _over_shots(run, task)).points),
            doubling=True,
        )
        for task, cell in titles.items()
    ]


def _over_shots(run: Run, task: str) -> Track:
    points = []
    printed: list[tuple[int, Number]] = []
    for (name, shots, _), cells in sorted(by_spot(run.cells).items()):
        if name == task:
            column = _headline_column(cells[0])
            made = figure(cells, cells[0].headline, against(column, cells[0]))
            points.append(Point(shots, made))
            printed += [(shots, number) for number in made.against[:1]]
    return Track(run.name, tuple(points), tuple(printed))


def _headline_column(cell: Cell) -> str:
    return next((c for c, metric in cell.columns.items() if metric == cell.headline), "")


def over_steps(runs: Sequence[Run]) -> list[Slopes]:
    """Headlines over training steps, for every model that several runs show at several steps."""
    marked = sorted((run for run in runs if run.step is not None), key=lambda run: run.step or 0)
    found: dict[tuple[str, str], dict[tuple[str, int], list[Point]]] = {}
    for run in marked:
        for (_, shots, _), cells in by_spot(run.cells).items():
            tracks = found.setdefault((cells[0].title, cells[0].headline), {})
            point = Point(run.step or 0, figure(cells, cells[0].headline))
            tracks.setdefault((run.model, shots), []).append(point)
    return [
        Slopes(
            title,
            metric,
            tuple(
                Track(f"{model}, {shots_text(shots)}", tuple(points))
                for (model, shots), points in tracks.items()
            ),
        )
        for (title, metric), tracks in found.items()
        if any(len(points) > 1 for points in tracks.values())
    ]


def breakdowns(runs: Sequence[Run]) -> list[Bars]:
    """One for every benchmark and way of grouping its samples; nothing for a single group."""
    found: dict[tuple[str, str], tuple[Cell, list[Series]]] = {}
    for run in runs:
        for (task, shots, _), cells in by_spot(run.cells).items():
            name = shots_text(shots) if len(runs) == 1 else f"{run.name}, {shots_text(shots)}"
            for tag in cells[0].breakdown:
                series = Series(name, _mean_over_seeds([c.breakdown.get(tag, {}) for c in cells]))
                key = tag.replace("_", " ")
                found.setdefault((task, key), (cells[0], []))[1].append(series)
    made = [
        Bars(
            task,
            f"{cell.title}: {key} by group" if _measure(cell, key) else f"{cell.title} by {key}",
            key,
            tuple(sorted({group for one in series for group in one.values}, key=natural)),
            tuple(series),
        )
        for (task, key), (cell, series) in found.items()
    ]
    return [bars for bars in made if len(bars.groups) > 1]


def _measure(cell: Cell, key: str) -> bool:
    """Whether a breakdown is named after what it measures: then others have the same groups."""
    groups = {tag.replace("_", " "): set(found) for tag, found in cell.breakdown.items()}
    return any(found == groups.get(key) for tag, found in groups.items() if tag != key)


def _mean_over_seeds(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    groups = dict.fromkeys(group for part in parts for group in part)
    return {group: fmean(part[group] for part in parts if group in part) for group in groups}
