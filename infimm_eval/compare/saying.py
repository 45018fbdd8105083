"""The texts behind changed scores: what was asked, what either run said, what was
expected, the picture.

Refuses to judge; a baseline file keeps no texts, and is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from infimm_eval import logs
from infimm_eval.compare.cells import Cell
from infimm_eval.compare.verdicts import Change, Comparison, Row, Said
from infimm_eval.logs import Entry, Log
from infimm_eval.types import Content, Sample


def with_texts(comparison: Comparison, base: Path, new: Path, shown: int) -> Comparison:
    """The comparison of ``base`` with ``new``, with the texts of every row's first ``shown``
    changes."""
    with ExitStack() as stack:
        before, after = (_opened(path, stack) for path in (base, new))
        rows = tuple(_row(row, before, after, shown) for row in comparison.rows)
    return replace(comparison, rows=rows)


def _opened(path: Path, stack: ExitStack) -> Log | None:
    folder = path.parent if path.name == logs.FILE else path
    return stack.enter_context(Log(folder)) if (folder / logs.FILE).is_file() else None


def _row(row: Row, base: Log | None, new: Log | None, shown: int) -> Row:
    """Of equal losses those come first whose picture a log keeps."""
    if row.pair is None:
        return row
    near = row.changes[: 20 * shown]
    ids = [change.id for change in near]
    before, after = _entries(base, row.pair[0], ids), _entries(new, row.pair[1], ids)
    kept = [log for log in (new, base) if log is not None]
    told = [_told(change, before, after, kept) for change in near]
    told.sort(key=lambda c: (c.after - c.before, not (c.said and c.said.picture)))
    untold = (replace(change, said=None) for change in told[shown:])
    return replace(row, changes=(*told[:shown], *untold, *row.changes[len(near) :]))


def _entries(log: Log | None, cell: Cell, ids: Iterable[str]) -> dict[str, Entry]:
    """By id; a unit of several samples (a picture's questions) has no text of its own."""
    if log is None:
        return {}
    spot = (cell.task, cell.shots, cell.seed, cell.control, cell.support)
    keys = (c.key for c in log.shown() if (c.task, c.shots, c.seed, c.control, c.support) == spot)
    return {entry.sample.id: entry for key in keys for entry in log.find(key, ids)}


def _told(
    change: Change,
    before: Mapping[str, Entry],
    after: Mapping[str, Entry],
    kept: Sequence[Log],
) -> Change:
    entries = before.get(change.id), after.get(change.id)
    either = entries[1] or entries[0]
    if either is None:
        return change
    sample = either.sample
    said = Said(
        question=_plain(sample.question),
        before=_answer(entries[0]),
        after=_answer(entries[1]),
        expected=" / ".join(dict.fromkeys(sample.references or (sample.target,))),
        picture=_picture(sample, kept),
    )
    return replace(change, said=said)


def _picture(sample: Sample, kept: Sequence[Log]) -> bytes | None:
    keys = [image.key for image in sample.images if isinstance(image, logs.NamedImage)]
    return next(filter(None, (log.picture(key) for key in keys[:1] for log in kept)), None)


def _answer(entry: Entry | None) -> str | None:
    if entry is None or entry.answer is None:
        return None
    return entry.answer.text if entry.said is None else entry.said


def _plain(content: Content) -> str:
    return "".join(p if isinstance(p, str) else f"[picture: {p.name}]" for p in content)
