"""Samples that turned, as people look at them: the question, both answers, the picture.

Refuses to choose rows and to write anything.  A baseline file keeps no answers: of it there is the
score alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from infimm_eval import logs
from infimm_eval.compare.verdicts import Change, Comparison, Flip, Row
from infimm_eval.types import Content, Sample

SHOWN = 10
LONGEST = 300
"""Characters of a question or an answer."""


def with_flips(comparison: Comparison, base: Path, new: Path, shown: int = SHOWN) -> Comparison:
    """The same comparison; the ``shown`` largest losses of every row as the logs have them.

    Of equal losses those come first whose picture a log keeps.
    """
    with ExitStack() as stack:
        sides = [stack.enter_context(log) if log else None for log in map(_log, (base, new))]
        return replace(
            comparison,
            rows=tuple(
                replace(row, flips=tuple(_flips(row, sides[0], sides[1], shown)))
                for row in comparison.rows
            ),
        )


def _log(path: Path) -> logs.Log | None:
    folder = path.parent if path.name == logs.FILE else path
    return logs.Log(folder) if folder.is_dir() else None


def _flips(row: Row, base: logs.Log | None, new: logs.Log | None, shown: int) -> Iterator[Flip]:
    """A change that is no sample's (a pair of questions, all rotations of one) has no answer."""
    near = row.changes[: 20 * shown]
    before, after = (_entries(log, row, near) for log in (base, new))
    told = []
    for change in near:
        entry = after.get(change.id) or before.get(change.id)
        if entry is None:
            continue
        keys = [image.key for image in entry.sample.images if isinstance(image, logs.NamedImage)]
        kept = (log.picture(key) for log in (new, base) if log for key in keys[:1])
        picture = next(filter(None, kept), None)
        told.append(
            Flip(change, _text(entry.sample.question), _said(before.get(change.id)),
                 _said(after.get(change.id)), picture, _expected(entry.sample))
        )  # fmt: skip
    told.sort(key=lambda flip: (flip.change.after - flip.change.before, flip.picture is None))
    yield from told[:shown]


def _entries(
    log: logs.Log | None, row: Row, changes: tuple[Change, ...]
) -> Mapping[str, logs.Entry]:
    """By id, from the first seed that both runs have, or the first at all."""
    if log is None or not changes:
        return {}
    spot = (row.task, row.shots, row.control or "", row.support or "")
    cells = [
        cell
        for cell in log.shown()
        if (cell.task, cell.shots, cell.control or "", cell.support or "") == spot
    ]
    for cell in sorted(cells, key=lambda cell: (cell.seed not in row.seeds, cell.seed))[:1]:
        return {e.sample.id: e for e in log.find(cell.key, [change.id for change in changes])}
    return {}


def _said(entry: logs.Entry | None) -> str | None:
    if entry is None:
        return None
    raw = entry.answer.text if entry.answer else ""
    return _cut(raw if entry.said is None else entry.said)


def _expected(sample: Sample) -> str:
    return _cut(" / ".join(dict.fromkeys(sample.references or (sample.target,))))


def _text(content: Content) -> str:
    return _cut("".join(p if isinstance(p, str) else f"[picture: {p.name}]" for p in content))


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
