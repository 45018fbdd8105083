"""Pick the examples that stand before a question, the same ones every time.

A draw depends on (seed, task, sample id) alone: the same whatever the order, the batch size, the
limit or the number of workers.  Knows samples; knows neither prompts nor models.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Literal, TypeAlias

from infimm_eval.errors import UsageError
from infimm_eval.types import Sample, SupportRule

POOL = 2048
"""Examples that shots are drawn from, as in Flamingo, OpenFlamingo and IDEFICS."""

Support: TypeAlias = Literal["random", "fixed"]


@dataclass(frozen=True, slots=True)
class Shots:
    """The pool of one run, and how it is drawn from."""

    task: str
    seed: int
    pool: Sequence[Sample]
    support: Support = "random"
    rule: SupportRule | None = None
    """The benchmark's own, in place of the usual draw."""

    def pick(self, sample: Sample, count: int) -> list[Sample]:
        """``count`` examples for one question, without the question itself and without any
        other question about its picture.

        The first k of a draw are the draw of k.  ``fixed`` takes the same examples for every
        question (where one shares the question's picture, the next in line stands in).  A rule
        of the benchmark's own is asked instead, with the same chance.
        """
        if self.rule is not None:
            return self.rule(sample, self.pool, count, self._chance(sample))
        picked: list[Sample] = []
        for shot in in_line(self.pool, self._chance(sample)):
            if len(picked) == count:
                break
            if shot.id != sample.id and not (shot.group and shot.group == sample.group):
                picked.append(shot)
        if len(picked) < count:
            raise UsageError(
                f"{self.task}: {count} shots asked for, the training rows give {len(picked)} "
                f"that do not show the picture of question {sample.id}; use fewer --shots"
            )
        return picked

    @property
    def fingerprint(self) -> str:
        """Names the pool by the ids in it."""
        return sha256("\0".join(sample.id for sample in self.pool).encode()).hexdigest()[:12]

    def _chance(self, sample: Sample) -> Random:
        whose = "" if self.support == "fixed" else sample.id
        return Random(f"{self.seed}/{self.task}/{whose}")


def in_line(pool: Sequence[Sample], chance: Random) -> Iterator[Sample]:
    """The pool in the order in which one question would take from it; the first k are the same
    however many are taken."""
    seen: set[int] = set()
    while len(seen) < len(pool):
        place = chance.randrange(len(pool))
        if place not in seen:
            seen.add(place)
            yield pool[place]


def pool(samples: Iterable[Sample], task: str, seed: int, size: int = POOL) -> list[Sample]:
    """``size`` of the training samples, chosen by a hash of their ids and put in its order.

    Neither the order of the rows nor their number decides whether one is chosen over another.
    Samples without an answer to show are passed over.
    """

    def rank(sample: Sample) -> bytes:
        return sha256(f"{seed}/{task}/{sample.id}".encode()).digest()

    return heapq.nsmallest(size, (s for s in samples if s.target), key=rank)
