"""Where a figure lands on a drawing: a linear frame with round ticks.  Knows only numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from infimm_eval.report import words
from infimm_eval.report.series import Slopes


@dataclass(frozen=True, slots=True)
class Frame:
    """Data to pixels inside margins; y grows upwards in data, downwards on the page."""

    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    ticks: tuple[float, ...]
    left: float = 40
    right: float = 46
    top: float = 14
    bottom: float = 26
    doubling: bool = False

    def x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self.x_range
        if self.doubling:
            low, high, value = (math.log2(1 + number) for number in (low, high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self.y_range
        share = (value - low) / (high - low)
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)


def frame(slopes: Slopes, width: float, height: float) -> Frame:
    """A frame that holds every point, interval and published figure of a chart."""
    xs = [float(point.x) for track in slopes.tracks for point in track.points]
    xs += [float(at) for track in slopes.tracks for at, _ in track.printed]
    ticks = round_ticks(_reach(slopes))
    right = max(46, beyond(slopes) + DIGIT * _longest(slopes))
    x_range, y_range = (min(xs), max(xs)), (ticks[0], ticks[-1])
    return Frame(width, height, x_range, y_range, ticks, right=right, doubling=slopes.doubling)


DIGIT = 8.5
"""How wide a figure's letters are at most."""


def beyond(slopes: Slopes) -> int:
    """How far behind its last point a track's figure stands."""
    return 8 + 3 * len(slopes.tracks)


def _longest(slopes: Slopes) -> int:
    return max(len(words.measured(track.points[-1].figure.value)) for track in slopes.tracks)


def sideways(slopes: Slopes, width: float) -> Frame:
    """The same with figures from left to right, for benchmarks at one shot count."""
    ticks = round_ticks(_reach(slopes))
    return Frame(width, 0, (ticks[0], ticks[-1]), (0, 1), ticks, left=20, right=24)


def _reach(slopes: Slopes) -> list[float]:
    values = [number.value for track in slopes.tracks for _, number in track.printed]
    for track in slopes.tracks:
        for point in track.points:
            values += [point.figure.value] if point.figure.value is not None else []
            values += point.figure.interval or ()
    return values or [0.0, 100.0]


def round_ticks(values: Iterable[float], about: int = 4) -> tuple[float, ...]:
    """Round numbers that enclose ``values``, some ``about`` of them."""
    values = list(values)
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return tuple(round(k * step, 10) for k in range(first, last + 1))


def kept_apart(places: Sequence[float], gap: float) -> list[float]:
    """The same heights, in the same order, moved down just enough to stand ``gap`` apart."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    return moved
