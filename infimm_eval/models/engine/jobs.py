"""A request as the engine works on it, and how the next batch is picked from those that wait.

Knows lengths and settings of the search; computes nothing with a model.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from infimm_eval.models.engine.prefixes import Prefix
from infimm_eval.types import Answer, Image, Request


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One prompt in token ids with its pictures.

    ``pictures`` and ``digests`` are those that the prompt's tags stand for, in order; ``latents``
    come once they are encoded.  ``eos`` ends the answer.  ``options`` are the continuations to
    rank, in ids.  ``shared`` is that of the ``beginnings`` which is read once for several prompts.
    """

    request: Request
    ids: list[int]
    eos: frozenset[int]
    pictures: tuple[Image, ...] = ()
    digests: tuple[str, ...] = ()
    options: tuple[tuple[int, ...], ...] = ()
    beginnings: tuple[Prefix, ...] = ()
    shared: Prefix | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    latents: list[Tensor] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """Places in the cache, the pictures' latents included: what its row takes up."""
        decoding = self.request.decoding
        options = sum(map(len, self.options))
        answer = 0 if self.options else decoding.max_new_tokens * decoding.num_beams
        return len(self.ids) + options + answer + sum(len(latents) for latents in self.latents)

    @property
    def greedy(self) -> bool:
        return self.request.decoding.num_beams == 1

    @property
    def tokens(self) -> int:
        """Prompt and longest answer together, as one greedy row."""
        return len(self.ids) + self.request.decoding.max_new_tokens

    @property
    def search(self) -> Hashable:
        """Jobs with the same can be in one batch."""
        d = self.request.decoding
        return (d.num_beams, d.length_penalty, d.min_new_tokens, d.stop, self.eos)


@dataclass(slots=True, eq=False)
class Refused:
    """A prompt that the model cannot read, and the answer that says so."""

    answer: Answer


def take(waiting: list[Job], size: int, *, like: Job | None = None, room: int = 0) -> list[Job]:
    """Removes and returns the next batch: the costliest job, and what comes next in cost among
    the jobs that want the same search.  ``like``: the search of this job instead, and only jobs
    whose prompt and answer take at most ``room`` tokens.

    Long first: a job that does not fit shows early, and rows of one batch end together.
    """
    waiting.sort(key=lambda job: job.cost, reverse=True)
    first = like or waiting[0]
    batch = [
        job
        for job in waiting
        if job.search == first.search and (like is None or job.tokens <= room)
    ][:size]
    chosen = set(map(id, batch))
    waiting[:] = [job for job in waiting if id(job) not in chosen]
    return batch


def widest(jobs: Sequence[Job]) -> int:
    """The most pictures in one prompt."""
    return max((len(job.latents) for job in jobs), default=0)
