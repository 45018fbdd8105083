"""The short table that a run prints: plain text for a terminal.

Knows cells and words; decides no number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from infimm_eval.logs import Cell
from infimm_eval.report import words
from infimm_eval.report.gather import paper_order
from infimm_eval.report.tables import against, figure
from infimm_eval.texts import aligned, printable


def screen(cells: Iterable[Cell]) -> str:
    """One line a task, shot count and control (the mean over seeds), columns aligned."""
    cells = sorted(cells, key=paper_order)
    rows = [
        ("task", "shots", "control", "metric", "value", "95 % interval", "n", "", "published"),
        *(_row(group) for group in _by_spot(cells)),
    ]
    lines = aligned(rows, right=(1, 4, 6))
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
