"""The published tables as LaTeX (booktabs), ours beside theirs.

The best of a column is bold; intervals stand as ± half their width; rows of papers say so.  Knows
tables and words; decides no number.
"""

from __future__ import annotations

from collections.abc import Sequence

from infimm_eval.logs.publish.clean import clean_name
from infimm_eval.report import words
from infimm_eval.report.gather import Run
from infimm_eval.report.tables import Entry, Figure, Table, tables

_SPECIAL = {
    **{ord(mark): f"\\{mark}" for mark in "&%$#_{}"},
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
    ord("<"): r"\textless{}",
    ord(">"): r"\textgreater{}",
}


def latex(runs: Sequence[Run]) -> str:
    """Every table that the runs have a number for."""
    found = [_table(table) for table in tables(runs)]
    head = "% needs \\usepackage{booktabs}; rows marked with a dagger are published figures\n"
    return head + "\n".join(found)


def escaped(text: str) -> str:
    """A text as LaTeX prints it."""
    return " ".join(text.split()).translate(_SPECIAL)


def _table(table: Table) -> str:
    best = {column: table.best(column) for column in table.columns}
    lines = [
        f"\\begin{{tabular}}{{lr{'r' * len(table.columns)}}}",
        "\\toprule",
        _row(["Model", "Shots", *map(escaped, table.columns)]),
        "\\midrule",
    ]
    for line in table.lines:
        mark = " (demo)" if line.demo else "" if line.measured else r"$^\dagger$"
        name = escaped(clean_name(line.name)) + mark
        entries = [_entry(line.entries.get(column), best[column]) for column in table.columns]
        lines.append(_row([name, str(line.shots), *entries]))
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry | None, best: float | None) -> str:
    if entry is None or entry.value is None:
        return "--"
    if not isinstance(entry, Figure):
        shown = words.printed(entry.value)
        return f"\\textbf{{{shown}}}" if entry.value == best else shown
    shown = words.measured(entry.value)
    shown = f"\\textbf{{{shown}}}" if entry.value == best else shown
    if entry.interval is None:
        return shown
    half = (entry.interval[1] - entry.interval[0]) / 2
    return f"{shown} {{\\scriptsize $\\pm$ {half:.1f}}}"
