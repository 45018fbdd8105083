"""Samples of a run one by one, as plain text for a terminal.  Knows no table and no page."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

from infimm_eval import registry
from infimm_eval.errors import UsageError, named, unknown
from infimm_eval.logs import FILE, Cell, Entry, Log
from infimm_eval.report.gather import by_spot
from infimm_eval.report.protocol import shots_text
from infimm_eval.texts import printable
from infimm_eval.types import Content

GRADES: Mapping[str, Callable[[float | None], bool]] = {
    "right": lambda value: value is not None and value >= 1,
    "partial": lambda value: value is not None and 0 < value < 1,
    "wrong": lambda value: value is not None and value <= 0,
    "unscored": lambda value: value is None,
}
"""What ``score=`` may ask for; a CIDEr of 100 and more is ``right``."""


def show(
    folder: Path,
    *,
    task: str | None = None,
    shots: int | None = None,
    score: str | None = None,
    id: str | None = None,
    search: str | None = None,
    limit: int | None = 20,
    prompt: bool = False,
) -> Iterator[str]:
    """The samples that fit every filter, a block of lines each, in the order of the split.

    ``search`` looks for a text, in any case, in question, answer and references; ``prompt`` adds
    the prompt as the model read it, chat template, special tokens and all.  Raises ``UsageError``
    on a filter that nothing can fit.
    """
    if score is not None and score not in GRADES:
        raise unknown("score", score, GRADES)
    try:
        with Log(folder) as log:
            cells = _cells(log.shown(), task, shots, folder)
            found = (
                (cell, entry)
                for cell in cells
                for entry in (log.find(cell.key, [id]) if id else log.entries(cell.key))
                if _fits(entry, score, search)
            )
            none = True
            for cell, entry in islice(found, limit):
                none = False
                yield _block(cell, entry, prompt)
            if none:
                raise UsageError(_nothing(log, cells, id))
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{folder / FILE} is damaged ({error}); run it again") from error


def _nothing(log: Log, cells: Iterable[Cell], id: str | None) -> str:
    """Why nothing is shown, and for an id those that are nearest."""
    if id is None:
        return "no sample fits all of these filters; leave one out"
    known = dict.fromkeys(entry.sample.id for cell in cells for entry in log.entries(cell.key))
    near = get_close_matches(id, known, n=3, cutoff=0.5) or list(islice(known, 3))
    return f"no sample {named(id)} fits; ids are like {', '.join(map(named, near))}"


def _cells(cells: Iterable[Cell], task: str | None, shots: int | None, folder: Path) -> list[Cell]:
    kept = [
        cell
        for cell in cells
        if (task is None or registry.plain(task) in map(registry.plain, (cell.task, cell.title)))
        and shots in (None, cell.shots)
    ]
    if not kept:
        have = ", ".join(f"{name} at {shots_text(k)}" for name, k, _ in by_spot(cells))
        raise UsageError(f"{folder} has no such cell; it has {have or 'none that is finished'}")
    return kept


def _fits(entry: Entry, score: str | None, search: str | None) -> bool:
    if score is not None and not GRADES[score](entry.score.value if entry.score else None):
        return False
    texts = (
        _plain(entry.sample.question),
        entry.answer.text if entry.answer else "",
        *entry.sample.references,
    )
    return search is None or search.casefold() in "\n".join(texts).casefold()


def _block(cell: Cell, entry: Entry, prompt: bool) -> str:
    sample = entry.sample
    head = " · ".join(
        [
            cell.title,
            shots_text(cell.shots),
            *([f"seed {cell.seed}"] if cell.seed else []),
            *([cell.control] if cell.control else []),
            sample.id,
        ]
    )
    lines = [(head, _score(entry))]
    lines += [("picture", image.name) for image in sample.images]
    if sample.question:
        lines.append(("question", _plain(sample.question)))
    lines += [(chr(ord("A") + at), _plain(option)) for at, option in enumerate(sample.options)]
    if entry.shot_ids:
        lines.append(("shots", ", ".join(entry.shot_ids)))
    if prompt:
        lines.append(("prompt", _asked(entry)))
    lines += _answer(entry)
    lines.append(("expected", " / ".join(dict.fromkeys(sample.references or (sample.target,)))))
    first, *rest = [(printable(name), printable(text)) for name, text in lines]
    return "\n".join([f"{first[0]}: {first[1]}", *(_indented(*line) for line in rest)])


def _answer(entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.answer is None:
        yield "answer", "none yet"
        return
    said = entry.answer.text if entry.said is None else entry.said
    yield "answer", said or "(nothing)"
    if entry.answer.text != said:
        yield "raw", entry.answer.text
    if entry.score and entry.score.read_as not in ("", said):
        yield "read as", entry.score.read_as
    if entry.score and not entry.score.parsed:
        yield "read as", "nothing: the scorer found no answer in it"
    if entry.answer.finish != "stop":
        yield "finish", entry.answer.finish
    notes: Mapping[str, Any] = entry.answer.notes
    if notes:
        yield "notes", ", ".join(f"{name} {value}" for name, value in notes.items())


def _asked(entry: Entry) -> str:
    """The prompt as the model read it; as it was put, where the model keeps that to itself."""
    if not entry.read:
        return entry.prompt
    first, *rest = entry.read
    names = [name for _, name in entry.pictures[len(entry.pictures) - len(rest) :]]
    return first + "".join(f"[picture: {n}]{text}" for n, text in zip(names, rest, strict=True))


def _score(entry: Entry) -> str:
    if entry.score is None or entry.score.value is None:
        return "unscored"
    return f"{100 * entry.score.value:.1f}"


def _plain(content: Content) -> str:
    return "".join(p if isinstance(p, str) else f"[picture: {p.name}]" for p in content)


def _indented(name: str, text: str) -> str:
    lines = text.split("\n")
    return "\n".join([f"  {name:<9} {lines[0]}", *(f"  {'':<9} {line}" for line in lines[1:])])
