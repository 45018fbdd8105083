"""What the shots of a run taught, for a terminal, for scripts and for papers.

Knows how figures are written; what they mean is said elsewhere (``icl``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from infimm_eval import icl, logs, registry
from infimm_eval.errors import UsageError
from infimm_eval.icl import tables
from infimm_eval.report import words
from infimm_eval.report.protocol import shots_text
from infimm_eval.texts import printable
from infimm_eval.types import Task

Form = Literal["text", "json", "csv", "latex"]


def taught(
    folder: Path,
    *,
    task: str | None = None,
    shots: int | None = None,
    tasks: Sequence[str | Task] = (),
    form: str = "text",
    language_model: Path | None = None,
) -> str:
    """The diagnoses and curves of a run; with a run of its bare ``language_model`` the leakage.
    ``UsageError`` where it has no control to read."""
    cells, known = logs.read(folder), registry.select(tasks)
    found: list[icl.Diagnosis] = []
    curves: list[icl.Curve] = []
    for model in dict.fromkeys(cell.model for cell in cells):
        own = {folder: [cell for cell in cells if cell.model == model]}
        diagnosed, drawn = icl.read(own, known, language_model=language_model)
        found += (d for d in diagnosed if task in (None, d.task) and shots in (None, d.shots))
        curves += (curve for curve in drawn if task in (None, curve.task))
    if not found:
        raise UsageError(f"{folder} has no such cell with a control; run it with --controls all")
    match form:
        case "json":
            said = {"diagnoses": list(map(asdict, found)), "curves": list(map(asdict, curves))}
            return json.dumps(said, indent=2, ensure_ascii=False)
        case "csv":
            return tables.to_csv(found, curves)
        case "latex":
            return tables.to_latex(found, curves)
    return printable("\n\n".join([*map(_block, found), *map(_curve, curves)]))


def _block(one: icl.Diagnosis) -> str:
    head = f"{one.title}, {shots_text(one.shots)}: {one.headline} {words.measured(one.plain.value)}"
    lines = [f"{head} {words.interval(one.plain.ci95)}".rstrip(), f"  {one.sentence}"]
    said = [f"  {line}" for line in (words.order_spread(one), *one.notes) if line]
    return "\n".join([*lines, *_contrasts(one), *_leakage(one), *_rates(one), *said])


def _contrasts(one: icl.Diagnosis) -> Iterator[str]:
    for contrast in one.contrasts:
        points = f"{words.signed(contrast.value):>7} {words.interval(contrast.ci95):<15}"
        changed = f"{words.percent(contrast.changed):>7} of answers changed"
        yield f"  {contrast.title:<24}{points} {changed}  {contrast.minuend} - {contrast.control}"


def _leakage(one: icl.Diagnosis) -> Iterator[str]:
    if (found := one.leakage) is not None:
        points = f"{words.measured(found.value):>7} {'':<15}"
        yield f"  {'multi-modal leakage':<24}{points} {words.leakage(found)}"


def _rates(one: icl.Diagnosis) -> Iterator[str]:
    for name, rate in words.rates(one).items():
        chance = "" if rate.chance is None else f", by chance {words.measured(rate.chance)}"
        yield f"  {tables.rate_title(name):<42}{words.rate(rate)}{chance} (n {rate.n:,})"


def _curve(curve: icl.Curve) -> str:
    points = ", ".join(f"{words.measured(p.value)} at {p.shots}" for p in curve.points)
    return f"{curve.title} over shots: {points}; {words.curve(curve)}"
