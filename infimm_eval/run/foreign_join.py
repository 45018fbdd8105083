"""Answers of another harness's log held against a benchmark's own questions.

Joins by ids that mean something, checked by the question's text, or refuses: a row number says
nothing of which dataset's rows it counts.  Knows no tool and no benchmark by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from infimm_eval.data import reading
from infimm_eval.errors import UsageError, named, shown
from infimm_eval.logs.foreign import ForeignLog
from infimm_eval.types import Foreign, ForeignRecord, Sample


@dataclass(slots=True)
class Said:
    """What a log says of one question."""

    text: str
    place: str
    heard: str | None
    prompt: str
    values: dict[str, float]


@dataclass(slots=True)
class Joined:
    """One part of a log under the ids of the benchmark."""

    part: str
    also: list[str] = field(default_factory=list)
    """Parts that hold the same answers, and are one with it."""
    said: dict[str, Said] = field(default_factory=dict)
    errors: int = 0
    """Answers that could not be had."""
    twice: int = 0
    """Lines that repeat another."""
    shots: int | None = None
    seed: int = 0
    samples: Sequence[Sample] = ()
    """The references; where none were named, the questions as the log carries them."""

    @property
    def texts(self) -> dict[str, str]:
        """Answers by id."""
        return {id: said.text for id, said in self.said.items()}


Finds = Callable[[ForeignRecord], str]
"""From a line to the id of the benchmark's question."""


@dataclass(frozen=True)
class Joiner:
    """How one log is joined."""

    log: ForeignLog
    foreign: Foreign
    declared: bool
    """Whether the benchmark itself says how it stands in the tool's logs."""
    by_row: bool
    """The person says that the log's rows are those of the references, in order."""
    note: Callable[[str], None]

    def join(self, references: Sequence[Sample] | None) -> list[Joined]:
        """Every part of the log; ``UsageError`` where its questions cannot be told."""
        if references is None:
            return self._carried()
        found = self._read(self._finder(references))
        for joined in found:
            joined.samples = references
        return found

    # -- with references -------------------------------------------------------------------------

    def _finder(self, references: Sequence[Sample]) -> Finds:
        """By ids where any of them is known, else by what is asked, else by row where that was
        said to be right."""
        by_key = _once((self.foreign.sample_key(sample), sample) for sample in references)
        known = [bool(by_key.get(key)) for key in self._keys if key]
        if all(known) and known if self._rows_only else any(known):
            return lambda record: self._by_key(record, by_key)
        if not self._rows_only:
            return self._plain_id  # of another kind, which ``run.ids`` may know how to read
        if self.by_row:
            self._require_questions(references)
            return lambda record: self._at_row(record, references)
        if find := self._by_content(references):
            self.note("ids are row numbers; questions are told by their text, each occurs once")
            return find
        raise UsageError(
            f"{self.log.path}: {self.log.tool} gives row numbers and no ids of the questions, and "
            f"the order of its rows is not known (the references have {named(references[0].id)}, "
            "...); --by-row says that they are those of --references, and checks what is asked"
        )

    @cached_property
    def _keys(self) -> list[Hashable]:
        return [self.foreign.key(record) for _, record in self.log.records()]

    @cached_property
    def _rows_only(self) -> bool:
        """Whether ids are lacking or are no more than numbers from 0 or 1 on."""
        distinct = set(self._keys)
        if self.declared or not any(distinct):
            return not any(distinct)
        numbers = [reading.whole_number(k) for k in distinct if isinstance(k, str)]
        return len(numbers) == len(distinct) and all(
            number is not None and number <= len(distinct) for number in numbers
        )

    def _require_questions(self, references: Sequence[Sample]) -> None:
        if not any(sample.question for sample in references):
            raise UsageError(
                f"{self.log.path}: the references hold no questions that would show whether the "
                "rows are in their order; name a data folder, demo or hub by --references"
            )

    def _plain_id(self, record: ForeignRecord) -> str:
        key = self.foreign.key(record)
        return key if isinstance(key, str) and key else record.id or f"row {record.row}"

    def _by_key(self, record: ForeignRecord, by_key: Mapping[Hashable, Sample | None]) -> str:
        key = self.foreign.key(record)
        sample = by_key.get(key)
        if key in by_key and sample is None:
            raise UsageError(
                f"{record.place}: {shown(key)} names several questions of the references"
            )
        if sample is None:
            return self._plain_id(record)
        self._check(record, sample)
        return sample.id

    def _at_row(self, record: ForeignRecord, references: Sequence[Sample]) -> str:
        row = -1 if record.row is None else record.row - self.foreign.first_row
        if not 0 <= row < len(references):
            raise UsageError(
                f"{record.place} is row {record.row}; the references have {len(references)} rows"
            )
        sample = references[row]
        self._check(record, sample)
        target, right = record.target, sample.references
        if target and record.references == (target,) and right and target not in right:
            raise UsageError(
                f"{record.place}: its right answer is {shown(target)}, that of row {record.row} of "
                f"the references {shown(right[0])}; the rows are not in that order"
            )
        return sample.id

    def _check(self, record: ForeignRecord, sample: Sample) -> None:
        """Whether the line asks what the sample does, as far as both say."""
        asked = _words(record.prompt)
        parts = [self.foreign.spoken(p) for p in sample.question if isinstance(p, str)]
        if asked and any(f" {_words(part)} " not in f" {asked} " for part in parts if part.strip()):
            raise UsageError(
                f"{record.place} asks {shown(record.prompt)}, question {named(sample.id)} of the "
                f"references is {shown(' '.join(parts))}; they are not of one split and order"
            )

    def _by_content(self, references: Sequence[Sample]) -> Finds | None:
        """Where no two questions of either side have the same text, options and answers."""
        if len(references) > _MOST:
            return None
        asked = Counter((part, _content_of(record)) for part, record in self.log.records())
        ours = [(_content(sample, self.foreign.spoken), sample) for sample in references]
        distinct = {content for content, _ in ours}
        if not asked or max(asked.values()) > 1 or len(distinct) < len(ours):
            return None
        if not all(_matching(content, ours) for _, content in asked):
            return None

        def find(record: ForeignRecord) -> str:
            sample = _matching(_content_of(record), ours)
            assert sample is not None
            return sample.id

        return find

    # -- without ---------------------------------------------------------------------------------

    def _carried(self) -> list[Joined]:
        """Questions as the log carries them; of one without right answers, nothing but rows."""
        found = self._read(self._own_id)
        for joined in found:
            joined.samples = self._samples(joined.part)
        return found

    def _own_id(self, record: ForeignRecord) -> str:
        if record.sample is not None:
            return record.sample.id
        sample = self.foreign.sample(record) if self.foreign.sample else None
        if sample is not None and not self._rows_only:
            return sample.id
        key = self.foreign.key(record)
        if isinstance(key, str) and key and not self._rows_only:
            return key
        # Rows of two files pair where the same is asked at the same row.
        asked = sha256(f"{record.prompt}\0{record.target}".encode("utf-8", "replace")).hexdigest()
        return f"row {record.row if record.row is not None else record.id} ({asked[:8]})"

    def _samples(self, part: str) -> list[Sample]:
        found: dict[str, Sample] = {}
        for of, record in self.log.records():
            if of != part or record.error:
                continue
            sample = record.sample or (self.foreign.sample or _plain)(record)
            if sample is not None:
                id = self._own_id(record)
                found.setdefault(id, replace(sample, id=id))
        return list(found.values())

    # -- lines -----------------------------------------------------------------------------------

    def _read(self, find: Finds) -> list[Joined]:
        parts: dict[str, Joined] = {}
        for part, record in self.log.records():
            joined = parts.get(part)
            if joined is None:
                shots, seed = _cell_of(record)
                joined = parts[part] = Joined(part, shots=shots, seed=seed)
            if record.error:
                joined.errors += 1
                continue
            _require_characters(record)
            _enter(joined, find(record), record)
        return _merged(list(parts.values()))


def _require_characters(record: ForeignRecord) -> None:
    """As every reader of results: half of a character is the mark of a text that was cut."""
    held = (record.text, record.id, record.prompt, record.target, *record.references)
    for text in (*held, *record.options):
        if not text.isascii() and any("\ud800" <= mark <= "\udfff" for mark in text):
            raise UsageError(f"{record.place} holds half of a character; is it cut?")


def _enter(joined: Joined, id: str, record: ForeignRecord) -> None:
    before = joined.said.get(id)
    if before is None:
        joined.said[id] = Said(
            record.text, record.place, record.heard, record.prompt, dict(record.values)
        )
    elif before.text == record.text:
        joined.twice += 1
    else:
        raise UsageError(
            f"{record.place}: another answer to {named(id)} than {before.place} has; one is wanted"
        )


def _merged(parts: Sequence[Joined]) -> list[Joined]:
    """Parts that hold the same answers are one: they differ in how a tool scored them."""
    merged: list[Joined] = []
    for part in parts:
        same = next((m for m in merged if _same_cell(m, part) and m.texts == part.texts), None)
        if same is None:
            merged.append(part)
            continue
        same.also.append(part.part)
        for id, said in part.said.items():
            same.said[id].values = {**said.values, **same.said[id].values}
            if said.heard != same.said[id].text:
                same.said[id].heard = said.heard
    return merged


def _same_cell(one: Joined, other: Joined) -> bool:
    return (one.shots, one.seed) == (other.shots, other.seed)


def _cell_of(record: ForeignRecord) -> tuple[int | None, int]:
    """Shots and seed where a line's metadata says them."""
    told = record.fields.get("metadata")
    told = told if isinstance(told, Mapping) else {}
    shots, seed = (str(told.get(name, "")) for name in ("shots", "seed"))
    return reading.whole_number(shots), reading.whole_number(seed) or 0


def _once(pairs: Iterator[tuple[Hashable, Sample]]) -> dict[Hashable, Sample | None]:
    """Samples by key; ``None`` where several share it."""
    found: dict[Hashable, Sample | None] = {}
    for key, sample in pairs:
        found[key] = None if key in found else sample
    return found


def _plain(record: ForeignRecord) -> Sample | None:
    """A question with its right answers as most logs carry them."""
    if not record.references:
        return None
    return Sample(
        id=record.id,
        question=(record.prompt,) if record.prompt else (),
        references=record.references,
        target=record.references[0],
        options=tuple((option,) for option in record.options),
    )


_MOST = 10_000
"""Questions are told by their text among so many at most: all are held against all."""
_MARK = re.compile(r"<image(?: \d+)?>")


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", _MARK.sub(" ", text).casefold()))


class Content(NamedTuple):
    """What is asked, in words."""

    question: str
    options: tuple[str, ...]
    right: tuple[str, ...]


def _content(sample: Sample, spoken: Callable[[str], str]) -> Content:
    """What a sample asks: words, options, right answers."""
    question = spoken("".join(part for part in sample.question if isinstance(part, str)))
    options = ("".join(p for p in o if isinstance(p, str)) for o in sample.options)
    return Content(_words(question), tuple(map(_words, options)), sample.references)


def _content_of(record: ForeignRecord) -> Content:
    options = tuple(map(_words, record.options))
    return Content(_words(record.prompt), options, record.references)


def _matching(asked: Content, ours: Sequence[tuple[Content, Sample]]) -> Sample | None:
    """The one sample whose question stands in what was asked, with the same options and answer."""
    found = [
        sample
        for our, sample in ours
        if (our.question or our.right)
        and (not our.question or f" {our.question} " in f" {asked.question} ")
        and (not asked.options or not our.options or asked.options == our.options)
        and (not asked.right or not our.right or set(asked.right) <= set(our.right))
    ]
    return found[0] if len(found) == 1 else None
