"""The samples a page shows: which ones, every answer they got, and their pictures, small.

It refuses to know markup: what it returns is plain values for JSON, texts exactly as they were.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from typing import Any

from infimm_eval.logs import Cell, Entry, Log
from infimm_eval.report.album import Album
from infimm_eval.report.gather import Run, paper_order
from infimm_eval.report.protocol import shots_text
from infimm_eval.texts import natural
from infimm_eval.types import Content, Image

_ROUTINE = frozenset({"tokens", "tokens_in", "tokens_out", "seconds"})
"""Notes that every answer has; the others say that something was out of the ordinary."""

VOLUME = 100
"""Samples that a page reads at once, where it does not hold them all."""

_LONGEST = (12_000, 3_000, 800, 200)
"""Characters of one text that a page shows, the first that lets all of them fit into it; the log
keeps everything."""


@dataclass(frozen=True, slots=True)
class _Open:
    """A cell, its run, and the run's open log."""

    run: Run
    cell: Cell
    log: Log


def browse(runs: Sequence[Run], count: int, room: int) -> dict[str, Any]:
    """``count`` samples over all benchmarks, each with its answer in every cell.

    Where two runs share a cell, up to half of the samples are such as changed between them; the
    rest are picked by a hash of their ids, the same ones in every report.  Long texts are cut where
    all of them would take more than half of ``room`` bytes, and pictures shrink into the rest.
    """
    with _opened(runs) as cells:
        chosen = {
            task: _chosen(_of_task(cells, task), wanted)
            for task, wanted in _shares(cells, count).items()
        }
        for longest in _LONGEST:
            page = _Page(cells, longest)
            for task, ids in chosen.items():
                page.add(task, ids)
            if (size := page.size) <= room // 2:
                break
        return {**_contents(cells), **page.values(room - size)}


def browse_all(
    runs: Sequence[Run], keep: Callable[[int, dict[str, Any]], None], picture_bytes: int
) -> dict[str, Any]:
    """Every sample, in volumes of ``VOLUME`` that ``keep`` is given by number as they are made,
    those with wrong answers first in each benchmark.  What is returned holds of each sample what
    filters and orders go by, and its volume."""
    with _opened(runs) as cells:
        samples: list[dict[str, Any]] = []
        number = 0
        for task in dict.fromkeys(one.cell.task for one in cells):
            ids = _worst_first(_of_task(cells, task))
            for start in range(0, len(ids), VOLUME):
                page = _Page(cells, _LONGEST[0])
                page.add(task, ids[start : start + VOLUME])
                samples += (_line(sample, number) for sample in page.samples)
                keep(number, page.values(picture_bytes))
                number += 1
        return {**_contents(cells), "samples": samples, "volumes": number}


@contextmanager
def _opened(runs: Sequence[Run]) -> Iterator[list[_Open]]:
    with ExitStack() as stack:
        yield [
            _Open(run, cell, opened)
            for run in runs
            for folder, cells_there in run.folders.items()
            for opened in [stack.enter_context(Log(folder))]
            for cell in sorted(cells_there, key=paper_order)
        ]


def _of_task(cells: Iterable[_Open], task: str) -> list[_Open]:
    return [one for one in cells if one.cell.task == task]


def _contents(cells: Sequence[_Open]) -> dict[str, Any]:
    """What the samples are of."""
    runs = list(dict.fromkeys(one.run.name for one in cells))
    many_seeds = len({one.cell.seed for one in cells}) > 1
    return {
        "tasks": {
            one.cell.task: {
                "title": one.cell.title,
                "types": sorted({*_groups(one.cell)}, key=natural),
            }
            for one in cells
        },
        "runs": runs,
        "cells": [
            {
                "task": one.cell.task,
                "run": runs.index(one.run.name),
                "name": _cell_name(one, len(runs) > 1, many_seeds),
                "spot": _cell_name(one, False, many_seeds),
            }
            for one in cells
        ],
    }


def _line(sample: Mapping[str, Any], volume: int) -> dict[str, Any]:
    return {
        **{name: sample[name] for name in ("task", "id", "types", "changed")},
        "volume": volume,
        "answers": [
            {"cell": answer["cell"], "score": answer["score"], "length": len(answer["said"])}
            for answer in sample["answers"]
        ],
    }


def _worst_first(cells: Sequence[_Open]) -> list[str]:
    """The ids of a benchmark's samples by their lowest score, the unscored last."""
    lowest: dict[str, float] = {}
    for one in cells:
        for id, value in _values(one):
            lowest[id] = min(lowest.get(id, math.inf), math.inf if value is None else value)
    return sorted(lowest, key=lambda id: lowest[id])


def _found(one: _Open, ids: Sequence[str]) -> Iterator[Entry]:
    """The entries of these samples, asked for in portions that SQLite takes."""
    for start in range(0, len(ids), 10_000):
        yield from one.log.find(one.cell.key, ids[start : start + 10_000])


def _shares(cells: Sequence[_Open], count: int) -> dict[str, int]:
    """The same number for every benchmark; what small ones do not use goes to the others."""
    sizes: dict[str, int] = {}
    for one in cells:
        sizes[one.cell.task] = max(sizes.get(one.cell.task, 0), one.log.size(one.cell.key))
    shares, left = dict.fromkeys(sizes, 0), count
    for position, task in enumerate(sorted(sizes, key=lambda task: sizes[task])):
        shares[task] = min(sizes[task], left // (len(sizes) - position))
        left -= shares[task]
    return shares


class _Page:
    """Collects samples; a prompt or picture that several answers share is kept once."""

    def __init__(self, cells: Sequence[_Open], longest: int) -> None:
        self.cells = cells
        self.longest = longest
        self.album = Album()
        self.samples: list[dict[str, Any]] = []
        self.prompts: list[list[str | int]] = []
        self._known: dict[tuple[str | int, ...], int] = {}

    @property
    def size(self) -> int:
        """Of the texts, in bytes."""
        return len(json.dumps([self.samples, self.prompts]))

    def values(self, picture_bytes: int) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "prompts": self.prompts,
            "pictures": self.album.values(picture_bytes),
        }

    def add(self, task: str, ids: Sequence[str]) -> None:
        cells = [(at, one) for at, one in enumerate(self.cells) if one.cell.task == task]
        found: dict[str, dict[str, Any]] = {}
        scores: dict[int, dict[str, float | None]] = {at: {} for at, _ in cells}
        for at, one in cells:
            for entry in _found(one, ids):
                sample = found.setdefault(entry.sample.id, self._sample(one, entry))
                sample["answers"].append(self._answer(at, one, entry))
                scores[at][entry.sample.id] = entry.score.value if entry.score else None
        changes = _changes(cells, scores)
        for id, sample in found.items():
            sample["changed"] = changes.get(id, {})
        self.samples += found.values()

    def _sample(self, one: _Open, entry: Entry) -> dict[str, Any]:
        sample = entry.sample
        return {
            "task": one.cell.task,
            "id": sample.id,
            "types": [group for group in _groups(one.cell) if _in_group(sample.tags, one, group)],
            "pictures": [self._picture(one, image.key, image.name) for image in sample.images],
            "question": self._content(one, sample.question),
            "options": [self._content(one, option) for option in sample.options],
            "hint": self._cut(sample.hint),
            "references": _counted(map(self._cut, sample.references or (sample.target,))),
            "answers": [],
        }

    def _answer(self, at: int, one: _Open, entry: Entry) -> dict[str, Any]:
        raw = entry.answer.text if entry.answer else ""
        said = raw if entry.said is None else entry.said
        answer: dict[str, Any] = {
            "cell": at,
            "prompt": self._prompt(one, entry),
            "score": entry.score.value if entry.score else None,
            "said": self._cut(said),
        }
        if entry.read:
            answer["exact"] = True
        if raw != said:
            answer["raw"] = self._cut(raw)
        if entry.score and entry.score.read_as not in ("", said):
            answer["read"] = self._cut(entry.score.read_as)
        if entry.score and not entry.score.parsed:
            answer["unread"] = True
        if entry.answer is None:
            answer["finish"] = "no answer"
        else:
            if entry.answer.finish != "stop":
                answer["finish"] = entry.answer.finish
            answer["notes"] = [
                f"{name.replace('_', ' ')}: {note}"
                for name, note in entry.answer.notes.items()
                if name not in _ROUTINE
            ]
        return answer

    def _prompt(self, one: _Open, entry: Entry) -> int:
        """The prompt's text, as the model read it where that is known, cut where its pictures
        stand."""
        own = {image.key for image in entry.sample.images}
        texts, pictures = _at_pictures(entry)
        parts: list[str | int] = [self._cut(texts[0])] if texts[0] else []
        for (key, name), text in zip(pictures, texts[1:], strict=True):
            parts.append(self._picture(one, key, name, small=key not in own))
            parts += [self._cut(text)] if text else []
        position = self._known.setdefault(tuple(parts), len(self.prompts))
        if position == len(self.prompts):
            self.prompts.append(parts)
        return position

    def _content(self, one: _Open, content: Content) -> list[str | int]:
        return [
            self._picture(one, part.key, part.name) if isinstance(part, Image) else self._cut(part)
            for part in content
        ]

    def _cut(self, text: str) -> str:
        more = len(text) - self.longest
        if more <= 0:
            return text
        return f"{text[: self.longest]} … ({more:,} more characters in the log)"

    def _picture(self, one: _Open, key: str, name: str, small: bool = False) -> int:
        return self.album.add(key, name, lambda: one.log.picture(key), small=small)


def _at_pictures(entry: Entry) -> tuple[list[str], list[tuple[str, str]]]:
    """A prompt cut at its pictures, and these: one fewer."""
    if entry.read:
        return [*entry.read], [*entry.pictures[len(entry.pictures) + 1 - len(entry.read) :]]
    texts, pictures = [entry.prompt], []
    for key, name in entry.pictures:
        before, mark, after = texts[-1].partition(f"[picture: {name}]")
        if mark:
            texts[-1:] = [before, after]
            pictures.append((key, name))
    return texts, pictures


def _cell_name(one: _Open, many_runs: bool, many_seeds: bool) -> str:
    parts = [
        one.run.name if many_runs else "",
        shots_text(one.cell.shots),
        f"seed {one.cell.seed}" if many_seeds else "",
        one.cell.control or "",
    ]
    return ", ".join(part for part in parts if part)


def _groups(cell: Cell) -> tuple[str, ...]:
    """The groups of the cell's first breakdown: what samples of it are filtered by."""
    return tuple(next(iter(cell.breakdown.values()), ()))


def _in_group(tags: Mapping[str, str], one: _Open, group: str) -> bool:
    """Breakdowns mostly go by the tag they are named after, but some name a measure."""
    key = next(iter(one.cell.breakdown))
    values = [tags[key]] if key in tags else list(tags.values())
    return any(group == v or group in re.split(r"\s*,\s*", v) for v in values)


def _counted(references: Iterable[str]) -> list[tuple[str, int]]:
    """Distinct references, the most frequent first (ten annotators often agree)."""
    counts: dict[str, int] = {}
    for reference in references:
        counts[reference] = counts.get(reference, 0) + 1
    return sorted(counts.items(), key=lambda item: -item[1])


def _changes(
    cells: Sequence[tuple[int, _Open]], scores: Mapping[int, Mapping[str, float | None]]
) -> dict[str, dict[str, str]]:
    """By sample: how its score moved against the run before, and from fewer to more shots."""
    changes: dict[str, dict[str, str]] = {}
    for (before, base), (after, new) in combinations(cells, 2):
        if kind := _relation(base, new):
            for id, value in scores[after].items():
                if moved := _moved(scores[before].get(id), value):
                    changes.setdefault(id, {})[kind] = moved
    return changes


def _moved(old: float | None, new: float | None) -> str:
    if old is None or new is None or old == new:
        return ""
    return "better" if new > old else "worse"


def _relation(base: _Open, new: _Open) -> str:
    """``run``: the same cell in two runs; ``shots``: one run with fewer and with more shots."""
    a, b = base.cell, new.cell
    if (a.control, a.support if a.shots and b.shots else b.support) != (b.control, b.support):
        return ""
    if base.run is new.run:
        return "shots" if a.seed == b.seed and a.shots < b.shots else ""
    return "run" if (a.shots, a.seed) == (b.shots, b.seed) else ""


def _chosen(cells: Sequence[_Open], wanted: int) -> list[str]:
    runs = ((a, b) for a, b in combinations(cells, 2) if _relation(a, b) == "run")
    flipped = {id for base, new in runs for id in _picked(_flipped(base, new), wanted // 2)}
    others = {id for one in cells for id in _picked((id for id, _ in _values(one)), wanted)}
    best = [*_picked(flipped, wanted // 2), *_picked(others, wanted)]
    return list(dict.fromkeys(best))[:wanted]


def _flipped(base: _Open, new: _Open) -> Iterator[str]:
    before = dict(_values(base))
    return (id for id, value in _values(new) if _moved(before.get(id), value))


def _values(one: _Open) -> Iterator[tuple[str, float | None]]:
    return one.log.values(one.cell.key)


def _picked(ids: Iterable[str], count: int) -> list[str]:
    return heapq.nsmallest(count, ids, key=lambda id: sha256(id.encode()).digest())
