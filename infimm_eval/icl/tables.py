"""Diagnoses and curves as tables for papers: one long CSV, and LaTeX with booktabs.

Knows how figures are written; measures nothing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from infimm_eval.icl.contrasts import Contrast
from infimm_eval.icl.copying import Rate
from infimm_eval.icl.curve import Curve
from infimm_eval.icl.diagnosis import Diagnosis

RATES = {
    "copy": "copies an answer of its shots",
    "wrong_copies": "wrong copies",
    "wrong_copies_of_wrong": "wrong copies, of the wrong answers",
    "recency": "last shot's answer minus first shot's",
    "majority": "agrees with the shots' majority",
    "majority_baseline": "their majority's score, without a model",
}
"""In words; ``place_1`` and so on are the first shot's answer and so on."""

_COLUMNS = (
    *("model", "task", "shots", "support", "seeds", "kind", "name", "against"),
    *("value", "low", "high", "p", "p_holm", "n", "changed", "changed_prompts", "left_out"),
    *("chance", "text"),
)


def rate_title(name: str) -> str:
    """A rate in words."""
    return RATES.get(name) or f"answers as shot {name.removeprefix('place_')}"


def to_csv(diagnoses: Sequence[Diagnosis], curves: Sequence[Curve]) -> str:
    """A line a figure, contrast, rate, verdict and point of a curve; ``kind`` says which."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(line for one in diagnoses for line in _lines(one))
    writer.writerows(line for curve in curves for line in _curve_lines(curve))
    return file.getvalue()


def _lines(one: Diagnosis) -> Iterator[dict[str, Any]]:
    where = {
        "model": one.model,
        "task": one.task,
        "shots": one.shots,
        "support": one.support,
        "seeds": len(one.seeds),
    }
    yield {**where, "kind": "verdict", "name": one.verdict, "text": one.sentence}
    for figure in one.figures:
        named = {"kind": "figure", "name": one.headline, "against": figure.control or "plain"}
        changed = None
        if figure.n_changed is not None and figure.n:
            changed = _rounded(100 * figure.n_changed / (figure.n * len(one.seeds)))
        yield {**where, **named, **_figure(figure.value, figure.ci95), "n": figure.n} | (
            {} if changed is None else {"changed_prompts": changed}
        )
    for contrast in one.contrasts:
        yield {**where, "kind": "contrast", "name": contrast.name} | _contrast(contrast)
    for name, rate in one.rates.items():
        yield {**where, "kind": "rate", "name": name} | _rate(rate)
    if one.majority_baseline is not None:
        yield {**where, "kind": "rate", "name": "majority_baseline"} | _rate(one.majority_baseline)
    if (leak := one.leakage) is not None:
        beside = {"kind": "leakage", "against": f"query=none - {leak.language_model}", "n": leak.n}
        yield {**where, **beside, "name": "leakage"} | _figure(leak.value, None)
        yield {**where, **beside, "name": "difference"} | _figure(leak.difference, leak.ci95)
    if one.order_spread is not None:
        yield {**where, "kind": "rate", "name": "order_spread"} | _figure(one.order_spread, None)


def _contrast(contrast: Contrast) -> dict[str, Any]:
    return {
        "against": f"{contrast.minuend} - {contrast.control}",
        **_figure(contrast.value, contrast.ci95),
        "p": f"{contrast.p:.4g}",
        "p_holm": f"{contrast.p_holm:.4g}",
        "n": contrast.n,
        "changed": _rounded(contrast.changed),
        "changed_prompts": _rounded(contrast.changed_prompts),
        "left_out": contrast.left_out,
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {**_figure(rate.value, rate.ci95), "n": rate.n, "chance": _rounded(rate.chance)}


def _curve_lines(curve: Curve) -> Iterator[dict[str, Any]]:
    where = {"model": curve.model, "task": curve.task, "support": curve.support}
    for point in curve.points:
        body = {**_figure(point.value, point.ci95), "n": point.n, "seeds": point.seeds}
        yield {**where, "shots": point.shots, "kind": "point", "name": curve.headline} | body
        if point.gain is not None:
            gain = {"kind": "step", "name": "gain over the point before"}
            yield {**where, "shots": point.shots, **gain} | _figure(point.gain, point.gain_ci95)
    for name, value in (("area", curve.area), ("peak", curve.peak), ("near peak", curve.near_peak)):
        yield {**where, "kind": "curve", "name": name, "value": _rounded(value)}


def _figure(value: float | None, bounds: tuple[float, float] | None) -> dict[str, Any]:
    low, high = bounds or (None, None)
    return {"value": _rounded(value), "low": _rounded(low), "high": _rounded(high)}


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def to_latex(diagnoses: Sequence[Diagnosis], curves: Sequence[Curve]) -> str:
    """A table of contrasts a cell and a table of points a curve, for booktabs."""
    parts = ["% \\usepackage{booktabs}", *map(_contrasts_table, diagnoses)]
    return "\n\n".join([*parts, *map(_curve_table, curves)]) + "\n"


def _contrasts_table(one: Diagnosis) -> str:
    rows = [
        (
            _tex(contrast.title),
            _tex(f"{contrast.minuend} - {contrast.control}"),
            _signed(contrast.value),
            _interval(contrast.ci95),
            _percent(contrast.changed),
            f"{contrast.p_holm:.3f}",
        )
        for contrast in one.contrasts
    ]
    heads = ("contrast", "cells", "points", "95\\,\\%", "changed", "$p$ (Holm)")
    caption = (
        f"{one.title}, {one.shots} shots, {one.model} ({one.headline} "
        f"{_number(one.plain.value)}). {one.sentence}"
    )
    if one.leakage is not None:
        caption += f" Multi-modal leakage {one.leakage.value:.1f}."
    return _table(caption, "llrrrr", heads, rows)


def _curve_table(curve: Curve) -> str:
    rows = [
        (
            str(point.shots),
            _number(point.value),
            _interval(point.ci95),
            _signed(point.gain),
            _interval(point.gain_ci95),
        )
        for point in curve.points
    ]
    heads = ("shots", _tex(curve.headline), "95\\,\\%", "gain", "95\\,\\%")
    caption = f"{curve.title} over shots, {curve.model}; area {curve.area:.1f}."
    return _table(caption, "rrrrr", heads, rows)


def _table(caption: str, columns: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{_tex(caption)}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        f"{' & '.join(heads)} \\\\",
        "\\midrule",
        *(f"{' & '.join(row)} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines)


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def _tex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return re.sub(r"[\\~^&%$#_{}]", lambda mark: _SPECIAL[mark[0]], " ".join(text.split()))


def _number(value: float | None) -> str:
    return "--" if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "--" if value is None else f"${value:+.1f}$"


def _percent(value: float | None) -> str:
    return "--" if value is None else f"{value:.0f}\\,\\%"


def _interval(bounds: tuple[float, float] | None) -> str:
    return f"$[{bounds[0]:.1f}, {bounds[1]:.1f}]$" if bounds else "--"
