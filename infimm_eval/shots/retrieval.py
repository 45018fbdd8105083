"""Selection by retrieval: RICES, by text, MMICES, and the oracle that knows the answers.

RICES: Yang et al. 2022, as in OpenFlamingo's ``rices.py``; MMICES: Chen et al. 2023 (2311.18021),
as in multimodal-icl's.  Searches the whole training split; knows neither encoders nor prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from infimm_eval.errors import UsageError
from infimm_eval.shots.encoders import Kept, mean_vectors
from infimm_eval.shots.feature_store import key
from infimm_eval.shots.search import Neighbours, Numbers
from infimm_eval.shots.selection import Shots, too_few
from infimm_eval.shots.split import Pictures, Split, pictures_of, question_of
from infimm_eval.types import Sample

CANDIDATES = 200
"""MMICES: so many rows by picture, of which the shots are chosen by text."""


class Queries:
    """What the questions of a run show and ask, each once."""

    def __init__(self, samples: Iterable[Sample], split: Split) -> None:
        self.pictures: dict[Pictures, None] = {}
        self.questions: dict[str, None] = {}
        self.groups: set[int] = set()
        for sample in samples:
            self.pictures[pictures_of(sample)] = None
            self.questions[question_of(sample)] = None
            self.groups.add(split.group(sample))


@dataclass(slots=True)
class Space:
    """The rows of a split by how alike they are to a query, in one respect."""

    neighbours: Neighbours
    of: Callable[[Sample], int]
    """Where a query's vector is."""
    identity: Mapping[str, Any]
    """Of the encoder."""

    def search(self, split: Split, queries: Iterable[int], groups: set[int], width: int) -> None:
        """Find so many rows for each query, beside those that it may not have: itself and others
        of its group."""
        own = (split.group_of >= 0) & (self.neighbours.vector_of >= 0)
        pairs = np.stack([split.group_of[own], self.neighbours.vector_of[own]])
        sizes = np.bincount(np.unique(pairs, axis=1)[0], minlength=1)
        spare = max((int(sizes[group]) for group in groups if 0 <= group < len(sizes)), default=0)
        wanted = np.fromiter(dict.fromkeys(queries), np.int32)
        self.neighbours.search(wanted, width + spare + 1)

    def rows(self, query: Sample) -> Numbers:
        """The first rows, most similar first."""
        return self.neighbours.rows(self.of(query))

    def sorted(self, query: Sample, rows: Numbers) -> Numbers:
        """These rows, most similar first; of equals the order stays."""
        return self.neighbours.sorted(self.of(query), rows)


def picture_space(split: Split, queries: Queries, kept: Kept, width: int) -> Space:
    """By pictures; of a sample with several, by the mean of their vectors.  So many of the nearest
    rows of every query are known."""
    kept.see_to(chain(*split.pictures, *queries.pictures))

    def rows(pictures: Pictures) -> tuple[int, ...]:
        return tuple(map(kept.row, pictures))

    places: dict[tuple[int, ...], int] = {(): -1}
    for pictures in (*split.pictures, *queries.pictures):
        places.setdefault(rows(pictures), len(places) - 1)
    base = kept.store.vectors
    if any(len(shown) > 1 for shown in places):
        base = mean_vectors(base, [shown for shown in places if shown])
    else:
        places |= {shown: shown[0] for shown in places if shown}
    of_row = np.array([places[rows(pictures)] for pictures in split.pictures], np.int32)
    space = Space(
        Neighbours(base, of_row[split.pictures_of]),
        lambda query: places[rows(pictures_of(query))],
        kept.identity,
    )
    asked = (places[rows(pictures)] for pictures in queries.pictures if pictures)
    space.search(split, asked, queries.groups, width)
    return space


def text_space(split: Split, queries: Queries, kept: Kept, width: int) -> Space:
    """By questions; with a ``width``, so many of the nearest rows of every query are known."""
    kept.see_to(chain(split.questions, queries.questions))
    of_row = np.array([kept.row(text) for text in split.questions], np.int32)
    neighbours = Neighbours(kept.store.vectors, of_row[split.question_of])
    space = Space(neighbours, lambda query: kept.row(question_of(query)), kept.identity)
    if width:
        space.search(split, map(kept.row, queries.questions), queries.groups, width)
    return space


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """The rows of a training split that are most similar to a question, in one order or the other.

    Questions without a picture, where pictures are compared, have their random draw.
    """

    support: str
    split: Split
    ranked: Callable[[Sample], Numbers]
    """Rows, most similar first."""
    otherwise: Shots
    needs_picture: bool
    nearest_last: bool = True
    distinct: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the protocol says."""

    def pick(self, sample: Sample, count: int) -> list[Sample]:
        """``count`` examples in the order of the prompt."""
        if self.needs_picture and not pictures_of(sample):
            return self.otherwise.pick(sample, count)
        rows = list(islice(allowed(self.split, sample, self.ranked(sample), self.distinct), count))
        if len(rows) < count:
            raise too_few(self.otherwise.task, sample, count, len(rows))
        return [self.split[row] for row in (reversed(rows) if self.nearest_last else rows)]

    def protocol(self) -> dict[str, Any]:
        """Split, encoders, order, and what decides between equals."""
        return {
            "support": self.support,
            "split": {"size": len(self.split), "fingerprint": self.split.fingerprint},
            "direction": "most similar last" if self.nearest_last else "most similar first",
            "ties": "the lower row of the split is more similar",
            "distinct_pictures": self.distinct,
            **({"without_a_picture": "random"} if self.needs_picture else {}),
            **self.facts,
        }


def allowed(split: Split, query: Sample, rows: Iterable[int], distinct: bool) -> Iterator[int]:
    """The rows that a query may have, in their order; ``distinct``: one a picture, the first."""
    shown: set[int] = set()
    for row in map(int, rows):
        pictures = int(split.pictures_of[row])
        if split.is_own(query, row) or (distinct and pictures in shown):
            continue
        if split.pictures[pictures]:
            shown.add(pictures)
        yield row


def mmices(split: Split, pictures: Space, texts: Space) -> Callable[[Sample], Numbers]:
    """Rows by text among the ``CANDIDATES`` nearest by picture; of equal texts the one with the
    more similar picture comes first."""

    def ranked(query: Sample) -> Numbers:
        rows = allowed(split, query, pictures.rows(query), distinct=False)
        return texts.sorted(query, np.fromiter(islice(rows, CANDIDATES), np.int32))

    return ranked


@dataclass(slots=True, kw_only=True)
class Oracle:
    """Examples that share the answer: an upper bound, since it uses the answers.

    Nearest first by ``pictures``, else in the pool's order; what lacks is filled up at random, and
    stands before them.
    """

    split: Split
    otherwise: Shots
    read: Callable[[Sample, str], str]
    """A text as the scorer compares it."""
    pictures: Space | None
    distinct: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    _by_answer: dict[str, Numbers] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = defaultdict(list)
        for row, sample in enumerate(self.split):
            rows[self.read(sample, sample.target)].append(row)
        self._by_answer = {answer: np.array(some, np.int32) for answer, some in rows.items()}

    def pick(self, sample: Sample, count: int) -> list[Sample]:
        """``count`` examples, the nearest last."""
        rows = self._sharing(sample, count)
        found = [self.split[row] for row in rows]
        ids, shown = {shot.id for shot in found}, {shot.images for shot in found if shot.images}
        for shot in self.otherwise.line(sample):
            if len(found) == count:
                break
            if shot.id not in ids and not (self.distinct and shot.images in shown):
                found.append(shot)
        if len(found) < count:
            raise too_few(self.otherwise.task, sample, count, len(found))
        return found[::-1]

    def protocol(self) -> dict[str, Any]:
        """As of shots that are retrieved, and of the random draw that fills them up."""
        return {
            **self.otherwise.protocol(),
            "support": "oracle",
            "upper_bound": "uses the answers",
            "split": {"size": len(self.split), "fingerprint": self.split.fingerprint},
            "direction": "most similar last",
            "ties": "the lower row of the split is more similar",
            "distinct_pictures": self.distinct,
            **self.facts,
        }

    def _sharing(self, query: Sample, count: int) -> list[int]:
        answers = dict.fromkeys(self.read(query, text) for text in query.references)
        each = [self._by_answer[answer] for answer in answers if answer in self._by_answer]
        if not each:
            return []
        rows = np.sort(np.concatenate(each))
        if self.pictures is None or not pictures_of(query):
            return list(islice(self._in_pool(query, set(rows.tolist())), count))
        near = self.pictures.rows(query)
        first = allowed(self.split, query, near[np.isin(near, rows)], self.distinct)
        if len(found := list(islice(first, count))) == count:
            return found
        ranked = self.pictures.sorted(query, rows)
        return list(islice(allowed(self.split, query, ranked, self.distinct), count))

    def _in_pool(self, query: Sample, rows: set[int]) -> Iterator[int]:
        order = (self.split.row_of[shot.id] for shot in self.otherwise.pool)
        return allowed(self.split, query, (row for row in order if row in rows), self.distinct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Examples that somebody's file names for each question."""

    where: str
    """What messages call the file."""
    split: Split
    shots: Mapping[str, tuple[int, Sequence[str]]]
    """By the question's id: the row in the file, and the ids of its examples."""
    facts: Mapping[str, Any]

    def pick(self, sample: Sample, count: int) -> list[Sample]:
        """As the file has them."""
        return [self.split[row] for row in self.rows(sample, count)]

    def rows(self, sample: Sample, count: int) -> list[int]:
        """``UsageError`` names the row of the file that is missing, has another number of shots, or
        names one that the split does not have or that is about the question's own picture."""
        if sample.id not in self.shots:
            raise UsageError(f"{self.where} has no row for question {sample.id}")
        number, ids = self.shots[sample.id]
        where = f"{self.where} row {number} (question {sample.id})"
        if len(ids) != count:
            raise UsageError(f"{where} names {len(ids)} shots; {count} are asked for")
        for id in ids:
            if id not in self.split.row_of:
                raise UsageError(
                    f"{where}: the training split has no {id!r} with an answer to show"
                )
            if self.split.is_own(sample, self.split.row_of[id]):
                raise UsageError(f"{where}: shot {id!r} shows the question's own picture")
        return [self.split.row_of[id] for id in ids]

    def protocol(self) -> dict[str, Any]:
        """The split, and the file by its content."""
        split = {"size": len(self.split), "fingerprint": self.split.fingerprint}
        return {"support": "file", "split": split, **self.facts}


def encoder_facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder as the protocol names it."""
    return {**identity, "fingerprint": key(identity)[:12]}
