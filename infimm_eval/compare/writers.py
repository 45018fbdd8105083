"""A comparison in other programs' formats: Markdown for people, JUnit XML for CI, JSON for scripts.

Refuses to decide anything.  What datasets and models are called is escaped: it comes from others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from xml.etree import ElementTree

from infimm_eval.compare.gate import Gate
from infimm_eval.compare.verdicts import Change, Comparison, Figure, Flip, Row

Pictures: TypeAlias = Callable[[bytes], str]
"""Where a page finds a picture: what to write as its source."""

COMMENT = 60_000
"""Characters that fit into a pull-request comment (65,536) with room for a frame."""


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


# -- Markdown ------------------------------------------------------------------------------------


def markdown(
    comparison: Comparison,
    gate: Gate | None = None,
    shown: int = 10,
    pictures: Pictures | None = None,
) -> str:
    """A heading, the table, what needs saying, and the ``shown`` largest losses of every row, with
    questions, answers and ``pictures`` where the rows have flips.

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
        short = replace(row, flips=())
        blocks = (_changed(one, shown, pictures) for one in ([row, short] if row.flips else [row]))
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
    title, *figures, verdict = columns(row)
    verdict = re.sub("^worse", "**worse**", verdict)
    return f"| {' | '.join((_text(title), *figures, verdict))} |"


def columns(row: Row) -> tuple[str, ...]:
    """Benchmark, shots, base, new, difference, n and verdict of a row."""
    found = row.difference
    difference = (
        f"{found.value:+.2f} [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]" if found else ""
    )
    verdict = row.verdict + (f" ({row.tier})" if row.tier != "critical" else "")
    n = min((f.n for f in (row.base, row.new) if f), default=0)
    figures = figure_text(row.base), figure_text(row.new), difference
    return row.title, str(row.shots), *figures, f"{n:,}", verdict


def figure_text(figure: Figure | None) -> str:
    """A value with its deviation over seeds; a dash where there is none."""
    if figure is None or figure.value is None:
        return "-"
    return f"{figure.value:.2f}" + (
        f" ± {figure.deviation:.2f}" if figure.deviation is not None else ""
    )


def _changed(row: Row, shown: int, pictures: Pictures | None) -> str:
    flips = row.flips[:shown]
    lines = [
        f"<details><summary>{_text(row.name)}: {counts(row)}</summary>\n",
        *(_flipped(flips, pictures) if flips else _scores(row, shown)),
    ]
    if (left := len(row.changes) - (len(flips) or shown)) > 0:
        lines.append(f"\nand {left:,} more")
    return "\n".join([*lines, "\n</details>\n"])


def counts(row: Row) -> str:
    """How many samples of a row lost and gained."""
    lost = sum(change.after < change.before for change in row.changes)
    return f"{lost:,} samples lost, {len(row.changes) - lost:,} gained"


def _scores(row: Row, shown: int) -> Iterator[str]:
    yield "| Sample | Base | New |"
    yield "|:--|--:|--:|"
    for c in row.changes[:shown]:
        yield f"| {_sample(c)} | {c.before:.3g} | {c.after:.3g} |"


def _flipped(flips: Sequence[Flip], pictures: Pictures | None) -> Iterator[str]:
    yield "| Sample | Question | Base | New | Base's answer | New answer | Picture |"
    yield "|:--|:--|--:|--:|:--|:--|:--|"
    for flip in flips:
        c = flip.change
        answers = (NOT_KEPT if a is None else _text(a) for a in (flip.before, flip.after))
        webp = flip.picture
        picture = f'<img src="{pictures(webp)}" width="96">' if pictures and webp else ""
        cells = (_sample(c), _text(flip.question), f"{c.before:.3g}", f"{c.after:.3g}", *answers,
                 picture)  # fmt: skip
        yield f"| {' | '.join(cells)} |"


NOT_KEPT = "(not kept)"


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
            for c in row.changes
        ],
    )
    yield (
        "flips",
        [
            {"id": f.change.id, "question": f.question, "before": f.before, "after": f.after}
            for f in row.flips
        ],
    )
