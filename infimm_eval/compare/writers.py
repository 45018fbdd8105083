"""A comparison in words: plain text, Markdown for a comment, JUnit XML for CI, JSON for scripts.

Refuses to decide anything.  What datasets and models are called is escaped: it comes from others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from infimm_eval.compare.gate import Gate
from infimm_eval.compare.verdicts import Change, Comparison, Figure, Row
from infimm_eval.texts import aligned, printable

COMMENT = 60_000
"""Characters that fit into a pull-request comment (65,536) with room for a frame."""
LONGEST = 300
"""Characters of one text that are shown; ``show`` has all of it."""


# -- in words ------------------------------------------------------------------------------------


def explain(row: Row) -> str:
    """One line on why a row has its verdict; empty where the figures say it all."""
    said = []
    if row.regressed:
        said.append(f"drop beyond {_allowed(row)}, {_p(row.p_drop)} over the table")
    elif row.verdict == "worse" and row.allowed:
        said.append(f"not significantly beyond {_allowed(row)}")
    if row.verdict == "inconclusive" and row.more is not None:
        said.append(
            f"about {_round(row.more):,} more samples would show a drop of {row.worth_seeing:.2f} "
            f"({_detectable(row):.2f} is detectable now)"
        )
    said += row.gaps
    if row.differing and row.difference:
        said.append(f"compared by force: {'; '.join(row.differing)}")
    if row.verdict == "added":
        said.append("the base lacks it")
    return "; ".join(said)


def _detectable(row: Row) -> float:
    return row.difference.detectable if row.difference else 0.0


def _round(count: int) -> int:
    """Two digits: the estimate is no better than that."""
    return int(float(f"{count:.1e}"))


def _allowed(row: Row) -> str:
    return f"the allowed {row.allowed:.2f}" if row.allowed else "chance"


def _p(p: float | None) -> str:
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _clean(text: str) -> str:
    """Without what neither UTF-8 nor XML 1.0 can hold, not even escaped."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


# -- plain text ----------------------------------------------------------------------------------


def plain_text(comparison: Comparison, gate: Gate | None = None, shown: int = 10) -> str:
    """For a terminal: the table, what needs saying, and the ``shown`` largest losses of every row
    with what was said."""
    head = ("benchmark", "shots", "base", "new", "difference [95 %]", "n", "verdict")
    rows = [head, *map(_columns, comparison.rows)]
    notes = [f"{row.name}: {said}" for row in comparison.rows if (said := explain(row))]
    parts = [
        f"{comparison.new} against {comparison.base}",
        *([gate.sentence] if gate else []),
        "\n".join(aligned([[*map(_line_of, row)] for row in rows], right=(1, 2, 3, 5))),
        "\n".join(map(_line_of, (*notes, *comparison.notes))),
        *(_block(row, shown) for row in comparison.rows if row.changes and shown),
    ]
    return "\n\n".join(part for part in parts if part)


def _block(row: Row, shown: int) -> str:
    lines = [_line_of(f"{row.name}: {_counts(row)}")]
    for change in row.changes[:shown]:
        scores = f"{change.before:.3g} -> {change.after:.3g}"
        name = " ".join(filter(None, (change.id, change.stratum)))
        asked = _brief(change.said.question) if change.said else ""
        lines.append("  " + "  ".join(filter(None, (_line_of(name), scores, _line_of(asked)))))
        lines += [f"    {who:<9} {_line_of(_brief(said))}" for who, said in _texts(change)]
    if len(row.changes) > shown:
        lines.append(f"  and {len(row.changes) - shown:,} more")
    return "\n".join(lines)


def _texts(change: Change) -> Iterator[tuple[str, str]]:
    if change.said is not None:
        for name, said in (("base", change.said.before), ("new", change.said.after)):
            yield name, "(not kept)" if said is None else said or "(nothing)"
        yield "expected", change.said.expected


def _brief(said: str) -> str:
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"


def _line_of(said: str) -> str:
    """On one line, whatever it holds."""
    return printable(" ".join(said.split()))


# -- Markdown ------------------------------------------------------------------------------------


def markdown(comparison: Comparison, gate: Gate | None = None, shown: int = 10) -> str:
    """A heading, the table, what needs saying, and the ``shown`` largest losses of every row.

    Never longer than a pull-request comment may be: lists that would not fit are left out, and
    counted.
    """
    parts = [
        f"### {_code(comparison.new)} against {_code(comparison.base)}\n",
        *([f"**{_text(gate.sentence)}**\n"] if gate else []),
        "| Benchmark | Shots | Base | New | Difference [95 %] | n | Verdict |",
        "|:--|--:|--:|--:|--:|--:|:--|",
        *(_line(row) for row in comparison.rows),
        "",
        *(
            f"- {_text(row.name)}: {_text(said)}"
            for row in comparison.rows
            if (said := explain(row))
        ),
        *(f"- {_text(note)}" for note in comparison.notes),
        "",
    ]
    length = sum(len(part) + 1 for part in parts)
    left_out = 0
    for block in (_changed(row, shown) for row in comparison.rows if row.changes):
        if length + len(block) > COMMENT:
            left_out += 1
            continue
        parts.append(block)
        length += len(block) + 1
    if left_out:
        parts.append(f"The changed samples of {left_out} rows are left out here for length.\n")
    return "\n".join(parts)


def _line(row: Row) -> str:
    title, *columns, verdict = _columns(row)
    verdict = "**worse**" if verdict == "worse" else verdict
    return f"| {' | '.join((_text(title), *columns, verdict))} |"


def _columns(row: Row) -> tuple[str, ...]:
    found = row.difference
    difference = (
        f"{found.value:+.2f} [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]" if found else ""
    )
    n = min((f.n for f in (row.base, row.new) if f), default=0)
    figures = _figure(row.base), _figure(row.new)
    return row.title, str(row.shots), *figures, difference, f"{n:,}", row.verdict


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return f"{figure.value:.2f}" + (
        f" ± {figure.deviation:.2f}" if figure.deviation is not None else ""
    )


def _changed(row: Row, shown: int) -> str:
    texts = any(change.said for change in row.changes)
    more = " Question | Base said | New said | Expected |" if texts else ""
    lines = [
        f"<details><summary>{_text(row.name)}: {_counts(row)}</summary>\n",
        f"| Sample | Base | New |{more}",
        f"|:--|--:|--:|{':--|:--|:--|:--|' if texts else ''}",
        *(f"| {' | '.join(_change(c))} |" for c in row.changes[:shown]),
    ]
    if len(row.changes) > shown:
        lines.append(f"\nand {len(row.changes) - shown:,} more")
    return "\n".join([*lines, "\n</details>\n"])


def _counts(row: Row) -> str:
    lost = sum(change.after < change.before for change in row.changes)
    return f"{lost:,} samples lost, {len(row.changes) - lost:,} gained"


def _change(change: Change) -> Iterator[str]:
    yield from (_sample(change), f"{change.before:.3g}", f"{change.after:.3g}")
    if change.said is not None:
        said = (change.said.question, *(text for _, text in _texts(change)))
        yield from (_text(_brief(one)) for one in said)


def _sample(change: Change) -> str:
    stratum = f" {_text(change.stratum)}" if change.stratum else ""
    return f"{_code(change.id)}{stratum}"


def _code(text: str) -> str:
    """Inside ``<code>`` an ``@name`` calls nobody."""
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    """As character references, which Markdown takes for text and never for structure."""
    return re.sub(
        r"[\\`*_\[\]|#~!<>&$@]", lambda m: f"&#{ord(m[0])};", " ".join(_clean(text).split())
    )


# -- JUnit ---------------------------------------------------------------------------------------


def junit(comparison: Comparison, gate: Gate) -> bytes:
    """One test case a row: regressions fail, gaps are errors, what only NEW has is skipped."""
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(f"{comparison.new} against {comparison.base}"),
        tests=str(len(comparison.rows)),
        failures=str(len(gate.regressions)),
        errors=str(sum(not row.regressed for row in gate.gaps)),
        skipped=str(sum(row.verdict == "added" for row in comparison.rows)),
        time="0",
    )
    for row in comparison.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_clean(f"infimm_eval.{row.task}"),
            name=_clean(f"{row.headline}, {row.shots}-shot"), time="0",
        )  # fmt: skip
        said = _clean(f"{row.verdict}: {_figures(row)}{explain(row)}".rstrip(": ;"))
        if row.regressed:
            ElementTree.SubElement(case, "failure", message=said, type="regression").text = _losses(
                row
            )
        elif row.gaps:
            ElementTree.SubElement(case, "error", message=said, type=row.verdict)
        elif row.verdict == "added":
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _figures(row: Row) -> str:
    return f"{_figure(row.base)} to {_figure(row.new)}; " if row.base and row.new else ""


def _losses(row: Row, shown: int = 50) -> str:
    return _clean(
        "\n".join(f"{c.id}: {c.before:.3g} to {c.after:.3g}" for c in row.changes[:shown])
    )


# -- JSON ----------------------------------------------------------------------------------------


def as_json(comparison: Comparison, gate: Gate) -> dict[str, Any]:
    """Everything, as a value that is JSON."""
    return {
        "schema": 1,
        "base": comparison.base,
        "new": comparison.new,
        "exit": gate.code,
        "gate": gate.sentence,
        "notes": list(comparison.notes),
        "rows": [dict(_row(row)) for row in comparison.rows],
    }


def _row(row: Row) -> Iterator[tuple[str, Any]]:
    for name in ("task", "title", "shots", "headline", "verdict", "allowed", "p", "p_drop", "more"):
        yield name, getattr(row, name)
    yield "seeds", list(row.seeds)
    for name, figure in (("base", row.base), ("new", row.new)):
        yield name, figure and {
            "value": figure.value, "deviation": figure.deviation, "n": figure.n
        }  # fmt: skip
    found = row.difference
    yield (
        "difference",
        found
        and {
            "value": found.value,
            "ci95": list(found.interval),
            "detectable": found.detectable,
            "pairs": found.n,
        },
    )
    yield "regressed", row.regressed
    yield "differing", list(row.differing)
    yield "gaps", list(row.gaps)
    yield "note", explain(row)
    yield (
        "changes",
        [
            {"id": c.id, "stratum": c.stratum, "before": c.before, "after": c.after}
            | ({"said": asdict(c.said)} if c.said else {})
            for c in row.changes
        ],
    )
