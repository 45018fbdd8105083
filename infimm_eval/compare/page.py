"""A comparison as one HTML file that opens no connection: table, verdicts, samples that turned.

Refuses to decide anything.  Whatever a data set or a model said is escaped; the page has no script.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from hashlib import sha256
from html import escape

from infimm_eval.compare.gate import Gate
from infimm_eval.compare.verdicts import Change, Comparison, Row
from infimm_eval.compare.writers import (
    brief,
    changed_counts,
    clean,
    explain,
    figure_text,
    said_of_all,
    texts,
)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem;
  color: #1c2024; background: #fff }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid #d5d9de; overflow-wrap: anywhere }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.worse { color: #b3261e; font-weight: 600 } .better { color: #146c2e; font-weight: 600 }
summary { cursor: pointer; margin-top: 1rem } img { max-width: 96px; max-height: 96px }
.lead { font-weight: 600 }
@media (prefers-color-scheme: dark) { body { color: #e6e8ea; background: #16191d }
  th, td { border-color: #3a4048 } .worse { color: #ff8a80 } .better { color: #7ddf95 } }
"""


def page(comparison: Comparison, gate: Gate | None = None) -> str:
    """The whole file; it carries its pictures."""
    style = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; base-uri 'none'"
    title = f"{_text(comparison.new)} against {_text(comparison.base)}"
    said = [f"{row.name}: {why}" for row in comparison.rows if (why := explain(row))]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
            *([f'<p class="lead">{_text(gate.sentence)}</p>'] if gate else []),
            "<table><thead><tr><th>Benchmark<th class=n>Shots<th class=n>Base<th class=n>New",
            "<th class=n>Difference [95 %]<th class=n>n<th>Verdict<th>Tier</tr></thead><tbody>",
            *map(_line, comparison.rows),
            "</tbody></table><ul>",
            *(f"<li>{_text(line)}</li>" for line in [*said, *said_of_all(comparison)]),
            "</ul>",
            *(part for row in comparison.rows if row.changes for part in _changed(row)),
            "</body></html>\n",
        ]
    )


def _line(row: Row) -> str:
    found = row.difference
    difference = (
        f"{found.value:+.2f} [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]" if found else ""
    )
    n = min((f.n for f in (row.base, row.new) if f), default=0)
    numbers = (str(row.shots), figure_text(row.base), figure_text(row.new), difference, f"{n:,}")
    required = ", required" if row.required else ""
    return (
        f"<tr><td>{_text(row.title)}"
        + "".join(f"<td class=n>{number}" for number in numbers)
        + f"<td class={row.verdict}>{row.verdict}<td>{row.tier}{required}</tr>"
    )


def _changed(row: Row) -> Iterator[str]:
    told = [change for change in row.changes if change.said]
    yield f"<details><summary>{_text(row.name)}: {changed_counts(row)}</summary>"
    if told:
        yield "<table><thead><tr><th>Sample<th>Question<th>Base said<th>New said<th>Expected"
        yield "<th>Picture</tr></thead>"
        yield from map(_said, told)
        yield "</table>"
    if left := len(row.changes) - len(told):
        yield f"<p>{'and ' if told else ''}{left:,} {'more' if told else 'in all'}</p>"
    yield "</details>"


def _said(change: Change) -> str:
    assert change.said is not None
    scores = (f" ({change.before:.3g})", f" ({change.after:.3g})", "")
    sides = (
        f"<td>{_text(brief(text))}{score}"
        for (_, text), score in zip(texts(change.said), scores, strict=True)
    )
    webp = change.said.picture
    picture = f'<img alt="" src="{data_uri(webp)}">' if webp else ""
    stratum = f"<br>{_text(change.stratum)}" if change.stratum else ""
    return (
        f"<tr><td>{_text(change.id)}{stratum}<td>{_text(brief(change.said.question))}"
        f"{''.join(sides)}<td>{picture}</tr>"
    )


def data_uri(webp: bytes) -> str:
    """A picture that a page carries itself."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _text(text: str) -> str:
    return escape(clean(text))
