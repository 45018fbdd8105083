"""A whole training split in little memory: half a million samples by row, id and group.

Knows samples; how alike two of them are is not its business.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import sha256
from itertools import chain

import numpy as np

from infimm_eval import prompts
from infimm_eval.types import Image, Sample

Pictures = tuple[Image, ...]
"""The pictures of one sample, in reading order."""


_TOGETHER = 16
"""So many samples are packed at once: few, since they are read here and there."""


class Split:
    """Every sample of a split that has an answer to show, in the order of its rows.

    Samples are kept compressed and made anew when they are read (VQAv2's 443,757 take 60 MB);
    beside them stand ids, groups, and what each row shows and asks, as numbers.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.ids: list[str] = []
        self.pictures: list[Pictures] = []
        """Distinct ones, in the order of their first rows."""
        self.questions: list[str] = []
        """Distinct ones, likewise."""
        self._groups: dict[str, int] = {}
        shown: dict[Pictures, int] = {}
        asked: dict[str, int] = {}
        numbers: list[tuple[int, int, int]] = []
        self._packs: list[bytes] = []
        loose: list[Sample] = []
        for sample in samples:
            if not sample.target:
                continue
            self.ids.append(sample.id)
            loose.append(sample)
            if len(loose) == _TOGETHER:
                self._packs.append(_packed(loose))
                loose.clear()
            group = self._groups.setdefault(sample.group, len(self._groups))
            pictures = shown.setdefault(pictures_of(sample), len(shown))
            question = asked.setdefault(question_of(sample), len(asked))
            numbers.append((group if sample.group else -1, pictures, question))
        self._packs.append(_packed(loose))
        self.pictures += shown
        self.questions += asked
        table = np.array(numbers, np.int32).reshape(-1, 3)
        self.group_of, self.pictures_of, self.question_of = np.ascontiguousarray(table.T)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Sample:
        pack, place = divmod(range(len(self))[row], _TOGETHER)
        return _unpacked(self._packs[pack])[place]

    def __iter__(self) -> Iterator[Sample]:
        return chain.from_iterable(map(_unpacked, self._packs))

    def group(self, sample: Sample) -> int:
        """The number of a sample's group, which no row has where it is negative."""
        return self._groups.get(sample.group, -2) if sample.group else -2

    def is_own(self, query: Sample, row: int) -> bool:
        """Whether a row is the query itself or another question about its picture."""
        return self.ids[row] == query.id or int(self.group_of[row]) == self.group(query)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Rows by their ids."""
        return {id: row for row, id in enumerate(self.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Names the split by its ids, in their order."""
        return sha256("\0".join(self.ids).encode()).hexdigest()[:12]


def _packed(samples: list[Sample]) -> bytes:
    return zlib.compress(pickle.dumps(samples), 1)


def _unpacked(pack: bytes) -> list[Sample]:
    samples: list[Sample] = pickle.loads(zlib.decompress(pack))
    return samples


def pictures_of(sample: Sample) -> Pictures:
    """Every picture of a sample: before the question, inside it, inside its options."""
    return tuple(prompts.pictures((sample,)))


def question_of(sample: Sample) -> str:
    """What is asked, in words alone."""
    return "".join(part for part in sample.question if isinstance(part, str))
