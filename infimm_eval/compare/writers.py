"""A comparison in words: plain text, Markdown for a comment, JUnit XML for CI, JSON for scripts.

Refuses to decide anything.  What datasets and models are called is escaped: it comes from others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias
from xml.etree import ElementTree

from infimm_eval.compare.gate import Gate
from infimm_eval.compare.verdicts import Change, Comparison, Figure, Row, Said
from infimm_eval.texts import aligned, printable

Pictures: TypeAlias = Callable[[bytes], str]
"""Where a page finds a picture: what to write as its source."""

COMMENT = 60_000
"""Characters that fit into a pull-request comment (65,536) with room for a frame."""
LONGEST = 300
"""Characters of one text that are shown; ``show`` has all of it."""


# -- in words ------------------------------------------------------------------------------------


def explain(row: Row) -> str:
    """One line on why a row has its verdict; empty where the figures say it all."""
    said = []
    if row.regressed:
        over = "over the table" if row.tier == "critical" else f"over the {row.tier} rows"
        said.append(f"drop beyond {_allowed(row)}, {_p(row.p_drop)} {over}")
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


def said_of_all(comparison: Comparison) -> Iterator[str]:
    """What is no row's: the pooled test, what is lacking, notes."""
    if pooled := comparison.pooled:
        yield (
            f"{pooled.rows} figures together: {pooled.score:+.1f} standard errors beyond what is "
            f"allowed, {_p(pooled.p)}"
        )
    yield from (f"{name} is required and in neither run" for name in comparison.lacking)
    yield from comparison.notes


def _detectable(row: Row) -> float:
    return row.difference.detectable if row.difference else 0.0


def _round(count: int) -> int:
    """Two digits: the estimate is no better than that."""
    return int(float(f"{count:.1e}"))


def _allowed(row: Row) -> str:
    return f"the allowed {row.allowed:.2f}" if row.allowed else "chance"


def _p(p: float | None) -> str:
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def clean(text: str) -> str:
    """A text without what neither UTF-8 nor XML 1.0 can hold, not even escaped."""
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
        "\n".join(map(_line_of, (*notes, *said_of_all(comparison)))),
        *(_block(row, shown) for row in comparison.rows if row.changes and shown),
    ]
    return "\n\n".join(part for part in parts if part)


def _block(row: Row, shown: int) -> str:
    lines = [_line_of(f"{row.name}: {changed_counts(row)}")]
    for change in row.changes[:shown]:
        scores = f"{change.before:.3g} -> {change.after:.3g}"
        name = " ".join(filter(None, (change.id, change.stratum)))
        asked = brief(change.said.question) if change.said else ""
        lines.append("  " + "  ".join(filter(None, (_line_of(name), scores, _line_of(asked)))))
        told = texts(change.said) if change.said else ()
        lines += [f"    {who:<9} {_line_of(brief(said))}" for who, said in told]
    if len(row.changes) > shown:
        lines.append(f"  and {len(row.changes) - shown:,} more")
    return "\n".join(lines)


def texts(said: Said) -> Iterator[tuple[str, str]]:
    """What either side said and what was expected, under their names."""
    for name, text in (("base", said.before), ("new", said.after)):
        yield name, "(not kept)" if text is None else text or "(nothing)"
    yield "expected", said.expected


def brief(said: str) -> str:
    """So much of a text that a table can hold it."""
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"


def _line_of(said: str) -> str:
    """On one line, whatever it holds."""
    return printable(" ".join(said.split()))


# -- Markdown ------------------------------------------------------------------------------------


def markdown(
    comparison: Comparison,
    gate: Gate | None = None,
    shown: int = 10,
    pictures: Pictures | None = None,
) -> str:
    """A heading, the table, what needs saying, and the ``shown`` largest losses of every row, with
    what was said and ``pictures`` where it was looked up (``saying``).

    Never longer than a pull-request comment may be: where answers do not fit there are scores
    alone, and lists that would not fit either are left out, and counted.
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
        *(f"- {_text(said)}" for said in said_of_all(comparison)),
        "",
    ]
    length = sum(len(part) + 1 for part in parts)
    left_out = 0
    for row in filter(lambda row: row.changes, comparison.rows):
        scores = replace(row, changes=tuple(replace(c, said=None) for c in row.changes))
        blocks = (_changed(one, shown, pictures) for one in (row, scores))
        block = next((block for block in blocks if length + len(block) <= COMMENT), None)
        if block is None:
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
    figures = figure_text(row.base), figure_text(row.new)
    verdict = row.verdict + (f" ({row.tier})" if row.tier != "critical" else "")
    return row.title, str(row.shots), *figures, difference, f"{n:,}", verdict


def figure_text(figure: Figure | None) -> str:
    """A value with its deviation over seeds; a dash where there is none."""
    if figure is None or figure.value is None:
        return "-"
    return f"{figure.value:.2f}" + (
        f" ± {figure.deviation:.2f}" if figure.deviation is not None else ""
    )


def _changed(row: Row, shown: int, pictures: Pictures | None) -> str:
    heads = ["Sample", "Base", "New"]
    told = [change.said for change in row.changes[:shown] if change.said]
    if told:
        heads += ["Question", "Base said", "New said", "Expected"]
    if pictures and any(said.picture for said in told):
        heads.append("Picture")
    else:
        pictures = None
    lines = [
        f"<details><summary>{_text(row.name)}: {changed_counts(row)}</summary>\n",
        f"| {' | '.join(heads)} |",
        f"|:--|--:|--:|{':--|' * (len(heads) - 3)}",
        *(f"| {' | '.join(_change(c, pictures))} |" for c in row.changes[:shown]),
    ]
    if (left := len(row.changes) - shown) > 0:
        lines.append(f"\nand {left:,} more")
    return "\n".join([*lines, "\n</details>\n"])


def changed_counts(row: Row) -> str:
    """How many samples were lost and gained."""
    lost = sum(change.after < change.before for change in row.changes)
    return f"{lost:,} samples lost, {len(row.changes) - lost:,} gained"


def _change(change: Change, pictures: Pictures | None) -> Iterator[str]:
    yield from (_sample(change), f"{change.before:.3g}", f"{change.after:.3g}")
    if (said := change.said) is not None:
        yield from map(_text, map(brief, (said.question, *(t for _, t in texts(said)))))
        if pictures:
            webp = said.picture
            yield f'<img src="{pictures(webp)}" width="96">' if webp else ""


def _sample(change: Change) -> str:
    stratum = f" {_text(change.stratum)}" if change.stratum else ""
    return f"{_code(change.id)}{stratum}"


def _code(text: str) -> str:
    """Inside ``<code>`` an ``@name`` calls nobody."""
    return f"<code>{_text(text)}</code>"


def _text(text: str) -> str:
    """As character references, which Markdown takes for text and never for structure."""
    return re.sub(
        r"[\\`*_\[\]|#~!<>&$@]", lambda m: f"&#{ord(m[0])};", " ".join(clean(text).split())
    )


# -- JUnit ---------------------------------------------------------------------------------------


def junit(comparison: Comparison, gate: Gate) -> bytes:
    """One test case a row: regressions fail, gaps are errors, what only NEW has is skipped."""
    suite = ElementTree.Element(
        "testsuite",
        name=clean(f"{comparison.new} against {comparison.base}"),
        tests=str(len(comparison.rows) + len(gate.lacking) + bool(comparison.pooled)),
        failures=str(len(gate.regressions) + bool(gate.together)),
        errors=str(sum(row not in gate.regressions for row in gate.gaps) + len(gate.lacking)),
        skipped=str(sum(row.verdict == "added" and not row.gaps for row in comparison.rows)),
        time="0",
    )
    for row in comparison.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=clean(f"infimm_eval.{row.task}"),
            name=clean(f"{row.headline}, {row.shots}-shot"), time="0",
        )  # fmt: skip
        said = clean(f"{row.verdict}: {_figures(row)}{explain(row)}".rstrip(": ;"))
        if row in gate.regressions:
            ElementTree.SubElement(case, "failure", message=said, type="regression").text = _losses(
                row
            )
        elif row in gate.gaps:
            ElementTree.SubElement(case, "error", message=said, type=row.verdict)
        elif row.verdict == "added":
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    _cases_of_all(suite, comparison, gate)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _cases_of_all(suite: ElementTree.Element, comparison: Comparison, gate: Gate) -> None:
    """What is required and lacking, and the pooled test: a case each."""
    for name in gate.lacking:
        case = ElementTree.SubElement(suite, "testcase", classname=clean(f"infimm_eval.{name}"),
                                      name="required", time="0")  # fmt: skip
        ElementTree.SubElement(case, "error", message="in neither run", type="missing")
    if comparison.pooled:
        case = ElementTree.SubElement(suite, "testcase", classname="infimm_eval", name="pooled",
                                      time="0")  # fmt: skip
        said = next(said_of_all(comparison))
        if gate.together:
            ElementTree.SubElement(case, "failure", message=said, type="regression")
        else:
            ElementTree.SubElement(case, "system-out").text = said


def _figures(row: Row) -> str:
    return f"{figure_text(row.base)} to {figure_text(row.new)}; " if row.base and row.new else ""


def _losses(row: Row, shown: int = 50) -> str:
    return clean("\n".join(f"{c.id}: {c.before:.3g} to {c.after:.3g}" for c in row.changes[:shown]))


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
        "pooled": (pooled := comparison.pooled)
        and {"rows": pooled.rows, "score": pooled.score, "p": pooled.p},
        "lacking": list(comparison.lacking),
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
    yield "tier", row.tier
    yield "required", row.required
    yield "differing", list(row.differing)
    yield "gaps", list(row.gaps)
    yield "note", explain(row)
    yield (
        "changes",
        [
            {"id": c.id, "stratum": c.stratum, "before": c.before, "after": c.after}
            | ({"said": _said(c.said)} if c.said else {})
            for c in row.changes
        ],
    )


def _said(said: Said) -> dict[str, str | None]:
    return {name: getattr(said, name) for name in ("question", "before", "after", "expected")}
