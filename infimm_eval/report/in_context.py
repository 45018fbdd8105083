"""What the shots taught, for the report: diagnoses and curves of every run, and samples to look at.

It refuses to know Markdown and HTML; what is said of a cell is decided elsewhere (``icl``).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from infimm_eval import icl
from infimm_eval.icl import tables
from infimm_eval.logs import Cell, Entry, Log
from infimm_eval.report.frame import Frame, round_ticks
from infimm_eval.report.gather import Run
from infimm_eval.report.series import Point, Slopes, Track
from infimm_eval.report.tables import Figure
from infimm_eval.types import Content

DIFFERING = 6
"""Samples of a cell that are shown where control and plain differ."""


@dataclass(frozen=True, slots=True)
class Differing:
    """A sample that a control answers otherwise."""

    id: str
    question: str
    control: str
    plain: str
    plain_score: float | None
    controlled: str
    controlled_score: float | None


@dataclass(frozen=True, slots=True)
class Taught:
    """One run's cell."""

    run: str
    diagnosis: icl.Diagnosis
    differing: tuple[Differing, ...]


@dataclass(frozen=True, slots=True)
class InContext:
    """Everything that the runs tell of their shots."""

    taught: tuple[Taught, ...]
    curves: tuple[tuple[str, icl.Curve], ...]
    """With the name of the run."""
    charts: tuple[Slopes, ...]
    """The curves, with the blind query's and that of a vote without a model."""

    def csv(self) -> str:
        """One long table."""
        return tables.to_csv([t.diagnosis for t in self.taught], [c for _, c in self.curves])

    def latex(self) -> str:
        """Tables for a paper."""
        return tables.to_latex([t.diagnosis for t in self.taught], [c for _, c in self.curves])


def in_context(runs: Sequence[Run]) -> InContext:
    """Of every run; empty where none has a control or two numbers of shots."""
    taught: list[Taught] = []
    curves: list[tuple[str, icl.Curve]] = []
    for run in runs:
        found, drawn = icl.read(run.folders)
        taught += [Taught(run.name, one, tuple(_differing(run, one))) for one in found]
        curves += [(run.name, curve) for curve in drawn]
    charts = [_chart(run, curve, taught) for run in runs for _, curve in _of(run, curves)]
    return InContext(tuple(taught), tuple(curves), tuple(charts))


def _of(run: Run, curves: Sequence[tuple[str, icl.Curve]]) -> list[tuple[str, icl.Curve]]:
    return [(name, curve) for name, curve in curves if name == run.name]


def _chart(run: Run, curve: icl.Curve, taught: Sequence[Taught]) -> Slopes:
    ours = [
        t.diagnosis
        for t in taught
        if t.run == run.name
        and t.diagnosis.task == curve.task
        and t.diagnosis.support in ("", curve.support)
    ]
    plain = [Point(p.shots, _figure(p.value, p.ci95, p.n)) for p in curve.points]
    blind = [
        Point(one.shots, _figure(one.blind.value, one.blind.ci95, one.blind.n))
        for one in ours
        if one.blind is not None
    ]
    votes = [
        Point(one.shots, _figure(vote.value, vote.ci95, vote.n))
        for one in ours
        if (vote := one.majority_baseline) is not None
    ]
    tracks = {"shots": plain, "blank query": blind, "their majority, no model": votes}
    return Slopes(
        title=f"{run.name}, {curve.title}",
        metric=curve.headline,
        tracks=tuple(Track(name, tuple(points)) for name, points in tracks.items() if points),
    )


def _figure(value: float | None, bounds: tuple[float, float] | None, n: int) -> Figure:
    return Figure(value=value, interval=bounds, n=n)


def forest(one: icl.Diagnosis, width: float, row: float) -> Frame:
    """A frame that holds every contrast of a cell, a row each, and zero."""
    bounds = [bound for contrast in one.contrasts for bound in contrast.ci95]
    ticks = round_ticks([0.0, *bounds])
    height = row * len(one.contrasts) + 30
    return Frame(width, height, (ticks[0], ticks[-1]), (0, 1), ticks, left=150, right=150)


def _differing(run: Run, one: icl.Diagnosis) -> Iterator[Differing]:
    """Samples whose score the controls change, picked by a hash of their ids, turn by turn."""
    cells = [
        (folder, cell)
        for folder, there in run.folders.items()
        for cell in there
        if (cell.task, cell.shots, cell.support or "") == (one.task, one.shots, one.support)
        and cell.seed == one.seeds[0]
    ]
    for folder, plain in cells:
        if plain.control:
            continue
        with Log(folder) as log:
            controls = [cell for at, cell in cells if cell.control and at == folder]
            yield from _picked(log, plain, controls)


def _picked(log: Log, plain: Cell, controls: Sequence[Cell]) -> list[Differing]:
    before = dict(log.values(plain.key))
    share = -(-DIFFERING // max(1, len(controls)))
    found: list[Differing] = []
    for control in controls:
        changed = (id for id, value in log.values(control.key) if before.get(id, value) != value)
        ids = heapq.nsmallest(share, changed, key=lambda id: sha256(id.encode()).digest())
        ours = {entry.sample.id: entry for entry in log.find(plain.key, ids)}
        theirs = {entry.sample.id: entry for entry in log.find(control.key, ids)}
        found += [_row(ours[id], theirs[id], control.control or "") for id in ids]
    return found[:DIFFERING]


def _row(plain: Entry, controlled: Entry, control: str) -> Differing:
    return Differing(
        id=plain.sample.id,
        question=_text(plain.sample.question) or "(its picture)",
        control=control,
        plain=plain.said or "",
        plain_score=plain.score.value if plain.score else None,
        controlled=controlled.said or "",
        controlled_score=controlled.score.value if controlled.score else None,
    )


def _text(content: Content) -> str:
    return "".join(p if isinstance(p, str) else f"[picture: {p.name}]" for p in content)[:200]


def tokens(found: Mapping[str, int | None] | None) -> str:
    """Picture tokens of a cell, ``query 64, shot 64``."""
    said = [f"{name} {count}" for name, count in (found or {}).items() if count is not None]
    return ", ".join(said)
