"""The report as Markdown that renders on GitHub.  Knows tables and words; decides no number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from infimm_eval.icl.tables import rate_title
from infimm_eval.published import Number
from infimm_eval.report import words
from infimm_eval.report.extents import LEGEND, Move, moves
from infimm_eval.report.gather import Run
from infimm_eval.report.in_context import InContext, Taught, tokens
from infimm_eval.report.protocol import (
    Fact,
    Protocol,
    brief,
    differences,
    ocr_notes,
    protocols,
    shots_text,
    token_notes,
    zero_shot_notes,
)
from infimm_eval.report.series import breakdowns
from infimm_eval.report.tables import Entry, Figure, Pair, Table, pairs, tables

_SPECIAL = {ord(c): f"\\{c}" for c in "\\`*_[]#|~$"} | {
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord("&"): "&amp;",
}


def markdown(runs: Sequence[Run], taught: InContext, systems: str = "auto") -> str:
    """The whole page, by sections; ``systems`` as ``tables`` takes them."""
    sections = [
        _head(runs),
        *(_table(table) for table in tables(runs, systems)),
        _legend(runs),
        _beside(pairs(runs)),
        _breakdowns(runs),
        _moves(moves(runs)),
        _in_context(taught),
        _protocols(protocols(runs)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.translate(_SPECIAL).split())


def _head(runs: Sequence[Run]) -> str:
    lines = [f"# Results: {', '.join(escaped(run.name) for run in runs)}"]
    if notice := words.demo_notice([cell for run in runs for cell in run.cells]):
        lines.append(f"> **Demo.** {notice} {words.REAL_HINT} `{words.REAL_OPTIONS}`")
    lines += [
        f"> **Not finished.** {escaped(run.name)}, {escaped(draft.task)}, "
        f"{shots_text(draft.shots)}, seed {draft.seed}: "
        f"{draft.answered:,} of {draft.asked:,} answered."
        for run in runs
        for draft in run.drafts
    ]
    return "\n\n".join(lines)


def _table(table: Table) -> str:
    told = any(map(words.notes, table.lines))
    best = {column: table.best(column) for column in table.columns}
    header = ("Model", "Shots", *map(escaped, table.columns), *(["Notes"] * told))
    rows = (
        (
            f"{'' if line.measured else '*'}{escaped(line.name)}"
            f"{'' if line.measured else '*'}{' (demo)' if line.demo else ''}",
            str(line.shots),
            *(_entry(line.entries.get(column), best[column]) for column in table.columns),
            *([_small(escaped(words.notes(line)))] * told),
        )
        for line in table.lines
    )
    return f"## {escaped(table.title)}\n\n{_grid(header, rows, 2 + len(table.columns))}"


def _small(text: str) -> str:
    return f"<sub>{text}</sub>" if text else ""


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]], words_from: int = 99) -> str:
    """The first column and those from ``words_from`` hold words, the others numbers."""
    rule = [":--" if i == 0 or i >= words_from else "--:" for i in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def _entry(entry: Entry | None, best: float | None) -> str:
    if entry is None:
        return words.ABSENT
    bold = "**" if entry.value is not None and entry.value == best else ""
    if isinstance(entry, Number):
        return f"{bold}*{words.printed(entry.value)}*{bold}"
    value = f"{bold}{words.measured(entry.value)}{bold}"
    if entry.deviation is not None:
        value += f" {words.spread(entry)}"
    beside = words.verdict(entry, entry.against[0]) if entry.against else ""
    small = [words.interval(entry.interval), _size_and_marks(entry), words.blind(entry), beside]
    return "<br>".join([value, *(_small(part) for part in small if part)])


def _size_and_marks(figure: Figure) -> str:
    return f"{words.size(figure)}, {', '.join(figure.marks)}" if figure.n else ""


def _notes(runs: Sequence[Run]) -> list[str]:
    return [*zero_shot_notes(runs), *ocr_notes(runs), *token_notes(runs)]


def _legend(runs: Sequence[Run]) -> str:
    return " ".join([words.LEGEND, *(escaped(line) for line in _notes(runs))])


def _beside(found: Sequence[Pair]) -> str:
    if not found:
        return ""
    header = (
        *("Figure", "Measured", "Published", "Difference"),
        *("Measured how", "Published how", "Protocols differ in"),
    )
    rows = (
        (
            f"{escaped(pair.name)}, {escaped(pair.column)}, {shots_text(pair.shots)}",
            f"{words.measured(pair.figure.value)} {words.interval(pair.figure.interval)}",
            words.printed(number.value),
            words.verdict(pair.figure, number),
            escaped(brief(pair.cell)),
            escaped(f"{number.stage}; {words.origin(number)}"),
            escaped(differences(pair.cell, pair.figure.seeds, number)) or words.ABSENT,
        )
        for pair in found
        for number in pair.figure.against
    )
    return f"## Beside the published numbers\n\n{_grid(header, rows, 3)}"


def _breakdowns(runs: Sequence[Run]) -> str:
    parts = []
    for bars in breakdowns(runs):
        header = (escaped(bars.key), *(escaped(series.name) for series in bars.series))
        rows = (
            (escaped(group), *(words.measured(series.values.get(group)) for series in bars.series))
            for group in bars.groups
        )
        parts.append(f"### {escaped(bars.title)}\n\n{_grid(header, rows)}")
    return "\n\n".join(["## In parts", *parts]) if parts else ""


def _moves(found: Sequence[Move]) -> str:
    lines = [
        f"- {escaped(move.chart.title)}, {escaped(move.chart.tracks[0].name)}, "
        f"{move.chart.metric}: rank correlation "
        f"{words.correlation(move.correlation, move.interval)}, n {move.n:,}"
        for move in found
    ]
    return "\n\n".join(["## By size", LEGEND, "\n".join(lines)]) if lines else ""


def _in_context(found: InContext) -> str:
    parts = [_taught(one) for one in found.taught]
    if parts and found.curves:
        parts.append(_curves(found))
    return "\n\n".join(["## In context", words.IN_CONTEXT, *parts]) if parts else ""


def _taught(one: Taught) -> str:
    found = one.diagnosis
    title = f"{one.run}, {found.title}, {shots_text(found.shots)}"
    header = ("Contrast", "Points", "95 %", "Answers changed", "p (Holm)", "n", "Cells")
    rows = (
        (
            escaped(contrast.title),
            f"**{words.signed(contrast.value)}**",
            words.interval(contrast.ci95),
            words.percent(contrast.changed),
            escaped(words.p_value(contrast.p_holm)),
            words.paired(contrast),
            escaped(f"{contrast.minuend} {words.MINUS} {contrast.control}"),
        )
        for contrast in found.contrasts
    )
    cells = (
        (
            escaped(figure.control or "plain"),
            f"{words.measured(figure.value)} {words.interval(figure.ci95)}",
            words.touched(figure),
            tokens(figure.picture_tokens) or words.ABSENT,
        )
        for figure in found.figures
    )
    rates = (
        (escaped(rate_title(name)), words.rate(rate), words.measured(rate.chance), f"{rate.n:,}")
        for name, rate in words.rates(found).items()
    )
    differing = (
        (
            escaped(row.id),
            escaped(row.question),
            escaped(f"{row.plain} ({words.score(row.plain_score)})"),
            escaped(f"{row.controlled} ({words.score(row.controlled_score)})"),
            escaped(row.control),
        )
        for row in one.differing
    )
    parts = [
        f"### {escaped(title)}",
        f"**{escaped(found.sentence)}**",
        _grid(header, rows, 6),
        _grid(
            ("Cell", f"{escaped(found.headline)}", "Prompts changed", "Picture tokens"), cells, 3
        ),
        _grid(("Rate", "%", "By chance", "n"), rates) if found.rates else "",
        _grid(("Sample", "Question", "Plain", "Control", "Which"), differing, 1)
        if one.differing
        else "",
        words.order_spread(found),
        "\n".join(f"- {escaped(note)}" for note in found.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _curves(found: InContext) -> str:
    header = ("Benchmark", "Shots", "Figure", "Gain over the point before", "95 %")
    rows = (
        (
            escaped(f"{run}, {curve.title}"),
            str(point.shots),
            f"{words.measured(point.value)} {words.interval(point.ci95)}",
            words.ABSENT if point.gain is None else words.signed(point.gain),
            words.interval(point.gain_ci95),
        )
        for run, curve in found.curves
        for point in curve.points
    )
    said = [
        f"- {escaped(f'{run}, {curve.title}')}: {words.curve(curve)}" for run, curve in found.curves
    ]
    return "### Over shots\n\n" + _grid(header, rows) + "\n\n" + "\n".join(said)


def _protocols(found: Iterable[Protocol]) -> str:
    parts = ["## Protocol", *(_protocol(one) for one in found)]
    return "\n\n".join(parts)


def _protocol(protocol: Protocol) -> str:
    lines = [f"<details><summary>{escaped(protocol.title)}</summary>"]
    for name, facts in protocol.sections:
        if facts:
            lines.append(f"**{escaped(name)}**")
            lines.append("\n".join(_fact(fact) for fact in facts))
    return "\n\n".join([*lines, "</details>"])


def _fact(fact: Fact) -> str:
    if not fact.long:
        return f"- {escaped(fact.label)}: {escaped(fact.value)}"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", fact.value)), default=0))
    body = "\n".join(f"  {line}" for line in fact.value.splitlines())
    return f"- {escaped(fact.label)}:\n\n  {fence}text\n{body}\n  {fence}"
