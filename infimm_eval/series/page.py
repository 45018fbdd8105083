"""A series as one page: every benchmark's curve over steps, verdicts, the best, what turned.

Writes ``index.html`` and ``index.md``; it refuses to measure and to judge.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from infimm_eval.report import words
from infimm_eval.report.page import rendered
from infimm_eval.report.protocol import shots_text
from infimm_eval.report.series import Point as Place
from infimm_eval.report.series import Slopes, Track
from infimm_eval.report.tables import Figure
from infimm_eval.series.folder import Point, SeriesFolder
from infimm_eval.series.folder import write as write_whole
from infimm_eval.series.standing import Best, Turned, best, turned
from infimm_eval.series.verdicts import Spot, Tables

NAMES = {"worse": "ALARM", "incomparable": "cannot be compared", "baseline": "the baseline"}
"""What a verdict is called where that is another word."""


@dataclass(frozen=True, slots=True)
class Row:
    """One checkpoint at one spot."""

    step: int
    figure: Figure
    part: str
    """``whole``, or how many samples were asked."""
    verdict: str
    alarm: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """One benchmark at one number of shots."""

    title: str
    chart: Slopes
    rows: tuple[Row, ...]
    best: Best | None
    turned: tuple[Turned, ...]
    turned_between: tuple[int, ...]
    """The two steps."""


def write(tables: Tables) -> None:
    """Write the page anew, whole or not at all."""
    series = tables.series
    curves = [_curve(tables, spot) for spot in _spots(series.points)]
    rate = _rate(series)
    skipped = [(os.path.relpath(path), why) for path, why in series.skipped.items()]
    html = rendered(
        "series.html.j2", name=series.folder.resolve().name, curves=curves, rate=rate,
        points=series.points, skipped=skipped, standing=standing,
    )  # fmt: skip
    write_whole(series.folder / "index.html", html)
    lines = [line for curve in curves for line in _markdown(curve)]
    left = [f"* {_cell(path)}: {_cell(why)}" for path, why in skipped]
    head = [f"# {series.folder.resolve().name}", "", rate, ""]
    left = ["## Left out", "", *left, ""] if left else []
    write_whole(series.folder / "index.md", "\n".join([*head, *lines, *left]))


def sentence(verdict: Mapping[str, Any] | None) -> str:
    """What is said of a checkpoint at one spot; empty where nothing is."""
    if verdict is None:
        return ""
    name: str = NAMES.get(verdict["verdict"], verdict["verdict"])
    if "reason" in verdict:
        return f"{name}: {verdict['reason']}"
    if verdict.get("difference") is None:
        return name
    against = "" if verdict["reference"] is None else f" against step {verdict['reference']:,}"
    if name == "better" and verdict["reference"] is not None:
        return f"{name} than the baseline ({words.signed(verdict['from_base'])})"
    asked = verdict["asked"]
    part = "" if asked > 1 - 1e-9 else f", {100 * asked:.0f} % asked"
    said = f"{name} ({words.signed(verdict['difference'])}{against}"
    if "score" in verdict:
        drop, way = abs(verdict["score"]), "down" if verdict["score"] > 0 else "up"
        errors = f"{drop:.1f} standard errors {way}; alarm at {verdict['threshold']:.1f} down"
        return f"{said}, {errors}{part})"
    bounds = verdict["interval"]
    return f"{said} {words.interval(tuple(bounds)) if bounds else ''}{part})".replace(" )", ")")


def _rate(series: SeriesFolder) -> str:
    agreed, spots = series.agreed, len(_spots(series.points))
    if not agreed.judged:
        return "Compared with nothing: give a --baseline, or --best, for verdicts."
    against = f"the baseline {agreed.baseline}" if agreed.baseline else "every earlier checkpoint"
    inside = ", with looks inside each evaluation" if agreed.looks else ""
    return (
        f"Compared with {against}{inside}. Over all {agreed.planned} planned checkpoints and "
        f"{spots} benchmark{'s' if spots != 1 else ''} together, chance alone raises an alarm in "
        f"at most {100 * agreed.alpha:g} % of trainings."
    )


def _spots(points: Sequence[Point]) -> list[Spot]:
    return list(dict.fromkeys(
        (cell["task"], cell["shots"]) for point in points for cell in point.cells
        if cell["control"] is None
    ))  # fmt: skip


def _curve(tables: Tables, spot: Spot) -> Curve:
    series = tables.series
    points = sorted((p for p in series.points if _cells(p, spot)), key=lambda p: p.step)
    first = _cells(points[0], spot)[0]
    title = f"{first['title']}, {shots_text(spot[1])}"
    rows = tuple(_row(point, spot) for point in points)
    groups = {"whole": [r for r in rows if r.part == "whole"],
              "a part of the samples": [r for r in rows if r.part != "whole"]}  # fmt: skip
    tracks = tuple(
        Track(name, tuple(Place(row.step, row.figure) for row in some))
        for name, some in groups.items()
        if some
    )
    whole = [point for point in points if point.state == "whole"][-2:]
    changed = turned(series, whole[0], whole[1], spot) if len(whole) == 2 else []
    return Curve(
        title=title,
        chart=Slopes(title, first["headline"], tracks),
        rows=rows,
        best=best(tables, spot),
        turned=tuple(changed),
        turned_between=tuple(point.step for point in whole) if changed else (),
    )


def _cells(point: Point, spot: Spot) -> list[dict[str, Any]]:
    return [c for c in point.cells if (c["task"], c["shots"]) == spot and c["control"] is None]


def _row(point: Point, spot: Spot) -> Row:
    cells = _cells(point, spot)
    values = [cell["value"] for cell in cells if cell["value"] is not None]
    bounds = [cell["ci95"] for cell in cells if cell["ci95"]]
    n = min(cell["n"] for cell in cells)
    figure = Figure(
        value=fmean(values) if len(values) == len(cells) else None,
        interval=(fmean(b[0] for b in bounds), fmean(b[1] for b in bounds)) if bounds else None,
        n=n,
        seeds=len(cells),
    )
    verdicts = [v for v in point.verdicts if (v["task"], v["shots"]) == spot]
    verdict = verdicts[0] if verdicts else None
    alarm = verdict is not None and verdict["verdict"] == "worse"
    part = f"{n:,} samples" if any("limit" in cell for cell in cells) else "whole"
    return Row(point.step, figure, part, sentence(verdict), alarm)


def _markdown(curve: Curve) -> Iterator[str]:
    yield f"## {_cell(curve.title)}"
    yield ""
    yield f"| step | {_cell(curve.chart.metric)} | 95 % | asked | verdict |"
    yield "| --: | --: | --- | --- | --- |"
    for row in curve.rows:
        bounds = words.interval(row.figure.interval)
        said = f"**{_cell(row.verdict)}**" if row.alarm else _cell(row.verdict)
        value = words.measured(row.figure.value)
        yield f"| {row.step:,} | {value} | {bounds} | {row.part} | {said} |"
    yield ""
    if curve.best is not None:
        yield f"{standing(curve.best)}"
        yield ""
    if curve.turned:
        before, after = (f"step {step:,}" for step in curve.turned_between)
        yield f"| turned | question | {before} | {after} |"
        yield "| --- | --- | --- | --- |"
        for one in curve.turned:
            texts = (_cell(text) for text in (one.id, one.question, one.before, one.after))
            yield "| " + " | ".join(texts) + " |"
        yield ""


def standing(best: Best) -> str:
    """Which checkpoint is best, and which cannot be told from it."""
    said = f"Best: step {best.step:,} with {words.measured(best.value)}"
    if not best.rivals:
        return f"{said}, surely."
    rivals = ", ".join(f"{step:,}" for step in best.rivals)
    return f"{said}; not told apart from step {rivals} (95 %, over all pairs)."


def _cell(text: str) -> str:
    """Anybody's text in a table of Markdown, as text."""
    one_line = " ".join(text.split())
    return "".join(f"\\{mark}" if mark in "\\|`*_<>[]#&" else mark for mark in one_line)
