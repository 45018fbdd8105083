"""A comparison for a terminal: plain text, columns aligned, nothing that steers.

Refuses to decide anything, and to know how wide a terminal is.
"""

from __future__ import annotations

from collections.abc import Iterator

from infimm_eval.compare.gate import Gate
from infimm_eval.compare.verdicts import Change, Comparison, Flip, Row
from infimm_eval.compare.writers import NOT_KEPT, columns, counts, explain, said_of_all
from infimm_eval.texts import aligned, printable


def plain_text(comparison: Comparison, gate: Gate | None = None, shown: int = 10) -> str:
    """The table, what needs saying, and the ``shown`` largest losses of every row, with what was
    asked, said and expected where the rows have flips."""
    head = ("benchmark", "shots", "base", "new", "difference [95 %]", "n", "verdict")
    rows = [head, *map(columns, comparison.rows)]
    notes = [f"{row.name}: {said}" for row in comparison.rows if (said := explain(row))]
    parts = [
        f"{comparison.new} against {comparison.base}",
        *([gate.sentence] if gate else []),
        "\n".join(aligned([[*map(_line, row)] for row in rows], right=(1, 2, 3, 5))),
        "\n".join(map(_line, (*notes, *said_of_all(comparison)))),
        *(_changed(row, shown) for row in comparison.rows if row.changes and shown),
    ]
    return "\n\n".join(part for part in parts if part)


def _changed(row: Row, shown: int) -> str:
    flips = row.flips[:shown]
    lines = [_line(f"{row.name}: {counts(row)}")]
    if flips:
        lines += [line for flip in flips for line in _flip(flip)]
    else:
        lines += map(_scores, row.changes[:shown])
    if (left := len(row.changes) - (len(flips) or shown)) > 0:
        lines.append(f"  and {left:,} more")
    return "\n".join(lines)


def _flip(flip: Flip) -> Iterator[str]:
    yield f"{_scores(flip.change)}  {_line(flip.question)}".rstrip()
    answers = (("base", flip.before), ("new", flip.after), ("expected", flip.expected))
    for name, said in answers:
        yield f"    {name:<9} {NOT_KEPT if said is None else _line(said) or '(nothing)'}"


def _scores(change: Change) -> str:
    name = " ".join(filter(None, (change.id, change.stratum)))
    return f"  {_line(name)}  {change.before:.3g} -> {change.after:.3g}"


def _line(said: str) -> str:
    """On one line, whatever it holds."""
    return printable(" ".join(said.split()))
