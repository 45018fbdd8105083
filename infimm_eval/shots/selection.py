"""Pick the examples that stand before a question, the same ones every time.

A draw depends on (seed, task, sample id) alone: the same whatever the order, the batch size, the
limit or the number of workers.  Knows samples; knows neither prompts nor models.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from random import Random
from typing import Any, Protocol

from infimm_eval.errors import UsageError, unknown
from infimm_eval.types import Image, Sample, SupportRule

POOL = 2048
"""Examples that shots are drawn from, as in Flamingo, OpenFlamingo and IDEFICS."""

SUPPORTS = ("random", "fixed", "rices", "text", "mmices", "oracle")
"""What ``--support`` may be, beside ``file:PATH``."""

RETRIEVED = frozenset({"rices", "text", "mmices", "oracle"})
"""Those that search the whole training split."""

SEEDLESS = frozenset({"rices", "text", "mmices", "file"})
"""Those that draw nothing at random: a second seed would be the same cell again."""

FILE = "file:"


def kind(support: str) -> str:
    """``rices``, ..., or ``file`` of ``file:PATH``; ``UsageError`` for what is none."""
    if support.startswith(FILE) and support != FILE:
        return "file"
    if support not in SUPPORTS:
        raise unknown("support", support, [*SUPPORTS, "file:PATH"])
    return support


class Selector(Protocol):
    """What selects the examples of one cell."""

    def pick(self, sample: Sample, count: int, /) -> list[Sample]:
        """The examples of one question in the order of its prompt: never the question itself, nor
        another one about its picture.  ``UsageError`` where there are too few."""
        ...

    def protocol(self) -> dict[str, Any]:
        """All that the selection depends on."""
        ...


@dataclass(frozen=True, slots=True)
class Shots:
    """The pool of one run, and how it is drawn from: at random for each question, or ``fixed``."""

    task: str
    seed: int
    pool: Sequence[Sample]
    support: str = "random"
    distinct: bool = False
    """Whether no picture is shown twice."""
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
        picked = list(islice(self.line(sample), count))
        if len(picked) < count:
            raise too_few(self.task, sample, count, len(picked))
        return picked

    def line(self, sample: Sample) -> Iterator[Sample]:
        """Every example that a question may have, in the order in which it would take them."""
        seen: set[tuple[Image, ...]] = set()
        for shot in in_line(self.pool, self._chance(sample)):
            if own(sample, shot):
                continue
            if self.distinct and shot.images:
                if shot.images in seen:
                    continue
                seen.add(shot.images)
            yield shot

    def protocol(self) -> dict[str, Any]:
        """Seed and pool; the pool is named by the ids in it."""
        ids = "\0".join(sample.id for sample in self.pool)
        fingerprint = sha256(ids.encode()).hexdigest()[:12]
        return {
            "seed": self.seed,
            "support": self.support,
            "pool": {"size": len(self.pool), "fingerprint": fingerprint},
            **({"distinct_pictures": True} if self.distinct else {}),
            **({"support_rule": self.rule.__name__} if self.rule else {}),
        }

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


def own(query: Sample, shot: Sample) -> bool:
    """Whether an example is the question itself, or another one about its picture."""
    return shot.id == query.id or bool(shot.group and shot.group == query.group)


def too_few(task: str, query: Sample, count: int, found: int) -> UsageError:
    """The error where the training rows do not give as many shots as were asked for."""
    return UsageError(
        f"{task}: {count} shots asked for, the training rows give {found} "
        f"that do not show the picture of question {query.id}; use fewer --shots"
    )


def pool(samples: Iterable[Sample], task: str, seed: int, size: int = POOL) -> list[Sample]:
    """``size`` of the training samples, chosen by a hash of their ids and put in its order.

    Neither the order of the rows nor their number decides whether one is chosen over another.
    Samples without an answer to show are passed over.
    """

    def rank(sample: Sample) -> bytes:
        return sha256(f"{seed}/{task}/{sample.id}".encode()).digest()

    return heapq.nsmallest(size, (s for s in samples if s.target), key=rank)
