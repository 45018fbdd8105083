"""The folder of a series: what was agreed at its start, and every checkpoint that was measured.

Reads and writes ``series.json``, whole or not at all; it refuses to know how anything is measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from infimm_eval.errors import MachineryError, UsageError, first_line
from infimm_eval.logs.locking import claim

SCHEMA = 1
FILE = "series.json"
LIVE = "live"
"""The path of a point that was measured in memory."""
FEATURES = "features"
"""Encoded pictures, by what they depend on."""

State: TypeAlias = Literal["begun", "first", "whole", "decided"]
"""Nothing measured, the cheap tier, all samples, or as many as a verdict took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What is fixed before the first checkpoint: changing it later, or drawing another order of
    samples until all is quiet, would break the error rate."""

    planned: int = 50
    alpha: float = 0.05
    baseline: str | None = None
    """A run's folder or a baseline file; ``None``: the first checkpoint, or nothing."""
    best: bool = False
    """Whether each checkpoint is compared with every earlier one."""
    tasks: tuple[str, ...] = ()
    shots: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    data: str = "hub"
    limit: int | None = None
    looks: tuple[float, ...] = ()
    """Shares of the samples after which an evaluation may stop; empty: all are asked."""
    tolerance: tuple[str, ...] = ()
    draw: int = 0
    """The seed of the order in which samples are asked."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else can move a figure, by the names of the command line."""

    @property
    def judged(self) -> bool:
        """Whether checkpoints are compared with anything."""
        return self.best or self.baseline is not None


@dataclass(slots=True, kw_only=True)
class Point:
    """One checkpoint of the series."""

    step: int
    path: str
    run: str
    """Its run folder within that of the series."""
    fingerprint: str = ""
    state: State = "begun"
    look: int = 0
    """How many looks were taken, where an evaluation may stop early."""
    order: int | None = None
    """Its place among the checkpoints that were judged, from 0."""
    cells: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    tracked: list[str] = field(default_factory=list)
    """Trackers that have its figures."""

    @property
    def done(self) -> bool:
        """Whether nothing of it is left to ask."""
        return self.state in ("whole", "decided")

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The verdicts that prove a regression."""
        return [verdict for verdict in self.verdicts if verdict["verdict"] == "worse"]


class SeriesFolder:
    """A series on disk, for this process alone to write while it is open."""

    def __init__(self, folder: Path, agreed: Agreed) -> None:
        """Begin a series, or go on with the one that is there.  ``UsageError`` where that was
        agreed otherwise, or another process writes it."""
        self.folder = folder
        self.agreed = agreed
        self.points: list[Point] = []
        self.skipped: dict[str, str] = {}
        """Why a checkpoint is left alone for now, by its path."""
        self._guard = claim(folder, ".series.lock", "watch")
        try:
            found = read(folder) if (folder / FILE).is_file() else None
            if found is not None:
                _require_agreed(folder, found[0], agreed)
                self.points = found[1]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let others write."""
        self._guard.close()

    def point(self, step: int, path: str) -> Point:
        """The checkpoint's point, begun where there is none."""
        for point in self.points:
            if (point.step, point.path) == (step, path):
                return point
        taken = {point.run for point in self.points}
        names = (f"step-{step}" + (f"-{n}" if n > 1 else "") for n in range(1, len(taken) + 2))
        point = Point(step=step, path=path, run=next(n for n in names if n not in taken))
        self.points.append(point)
        return point

    def known(self, step: int, path: str) -> Point | None:
        """The same; ``None`` where nothing was begun."""
        return next((p for p in self.points if (p.step, p.path) == (step, path)), None)

    def run_folder(self, point: Point) -> Path:
        """Where its answers are kept."""
        return self.folder / point.run

    def save(self) -> None:
        """All of it is on disk when this returns; a reader never meets a half."""
        body = {
            "schema": SCHEMA,
            **_plain(asdict(self.agreed)),
            "points": [asdict(point) for point in self.points],
            "skipped": [{"path": path, "reason": why} for path, why in self.skipped.items()],
        }
        write(self.folder / FILE, json.dumps(body, indent=1, ensure_ascii=False) + "\n")


def write(path: Path, text: str) -> None:
    """The whole file or the old one, on disk when this returns; ``MachineryError`` where that
    cannot be."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise MachineryError(f"{path} cannot be written ({error.strerror})") from error


def read(folder: Path) -> tuple[Agreed, list[Point]]:
    """A series as it stands.  ``UsageError`` where there is none that can be read."""
    path = folder / FILE
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            raise UsageError(f"{path} has schema {body['schema']!r}, this version reads {SCHEMA}")
        given = {f.name: body[f.name] for f in fields(Agreed)}
        lists = {name: tuple(v) for name, v in given.items() if isinstance(v, list)}
        points = [Point(**point) for point in body["points"]]
        if not all(type(p.step) is int and isinstance(p.path, str) for p in points):
            raise TypeError("a point lacks its step or its path")
        return Agreed(**{**given, **lists}), points
    except FileNotFoundError as error:
        raise UsageError(f"{folder} is no folder of a series: it has no {FILE}") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({first_line(error)})") from error


def first_regression(points: Sequence[Point]) -> Point | None:
    """The checkpoint, of those judged, that was the first to be proven worse."""
    alarming = [point for point in points if point.alarms]
    return min(alarming, key=lambda p: (p.order is None, p.order or 0), default=None)


def _require_agreed(folder: Path, before: Agreed, now: Agreed) -> None:
    ours, theirs = _plain(asdict(before)), _plain(asdict(now))
    flags = {"looks": "stop-when-decided", "draw": "seed of the order", "seeds": "seed"}
    for name, value in ours.items():
        if value == theirs[name]:
            continue
        if name == "options":
            name = next(n for n in {**value, **theirs[name]} if _other(value, theirs[name], n))
            value, theirs = value.get(name), {name: theirs["options"].get(name)}
        said = flags.get(name, name).replace("_", "-")
        raise UsageError(
            f"the series in {folder} was begun with {said} {json.dumps(value)}, not "
            f"{json.dumps(theirs[name])}; its error rate holds for what was agreed then: keep to "
            "it, or begin another with another --output"
        )


def _other(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> bool:
    return bool(one.get(name) != other.get(name))


def _plain(value: Any) -> Any:
    """As JSON has it."""
    return json.loads(json.dumps(value, default=str))
