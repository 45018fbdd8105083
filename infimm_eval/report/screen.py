"""The short table that a run prints: plain text for a terminal.

It refuses to know colours and widths of terminals; control characters in what data sets and models
say are spelled out, not sent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from infimm_eval.logs import Cell
from infimm_eval.report import words
from infimm_eval.report.gather import paper_order
from infimm_eval.report.tables import against, figure


def screen(cells: Iterable[Cell]) -> str:
    """One line a task, shot count and control (the mean over seeds), columns aligned."""
    cells = sorted(cells, key=paper_order)
    rows = [
        ("task", "shots", "control", "metric", "value", "95 % interval", "n", "", "published"),
        *(_row(group) for group in _by_spot(cells)),
    ]
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    widths = {i: max(_width(row[i]) for row in rows) for i in used}
    lines = [
        "  ".join(_padded(row[i], widths[i], right=i in (1, 4, 6)) for i in used).rstrip()
        for row in rows
    ]
    notice = words.demo_notice(cells)
    return "\n".join(
        [*lines, *(["", notice, f"{words.REAL_HINT} {words.REAL_OPTIONS}"] if notice else [])]
    )


def _by_spot(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[tuple[str, str, int, str], list[Cell]] = {}
    for cell in cells:
        spot = (cell.model, cell.task, cell.shots, cell.control or "")
        groups.setdefault(spot, []).append(cell)
    return list(groups.values())


def _row(cells: Sequence[Cell]) -> tuple[str, ...]:
    cell = cells[0]
    column = next((c for c, metric in cell.columns.items() if metric == cell.headline), "")
    printed_too = () if cell.control else against(column, cell)
    made = figure(cells, cell.headline, printed_too)
    printed = made.against[0] if made.against else None
    return (
        printable(cell.title),
        str(cell.shots),
        cell.control or "",
        cell.headline,
        " ".join(filter(None, (words.measured(made.value), words.spread(made)))),
        words.interval(made.interval),
        f"{made.n:,}" + (f" x {made.seeds} seeds" if made.seeds > 1 else ""),
        ", ".join(made.marks),
        f"{words.printed(printed.value)} ({words.verdict(made, printed)})" if printed else "",
    )


_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """Text with control, direction and line-breaking characters spelled out, so that none of them
    reaches a terminal; line feeds stay."""
    return "".join(c if c in "\n" + _JOINERS or _harmless(c) else f"\\u{ord(c):04x}" for c in text)


def _harmless(c: str) -> bool:
    category = unicodedata.category(c)
    return category[0] != "C" and category not in ("Zl", "Zp")


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
