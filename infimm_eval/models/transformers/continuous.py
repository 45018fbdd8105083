"""Continuous generation: rows that join a running batch and leave it, where a model allows it.

Knows which jobs may stand in it and what happens where memory gives out; how windows are filled is
the engine's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from infimm_eval.models.shared.batch_limiter import BatchLimiter, lacks_memory
from infimm_eval.models.shared.beginnings import shared
from infimm_eval.models.shared.refusals import ASTRAY, one_line
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.window import Window
from infimm_eval.models.transformers.continuous_batch import ContinuousBatch
from infimm_eval.models.transformers.generate import Generation
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.reader import Reader
from infimm_eval.models.transformers.requests import Job
from infimm_eval.models.transformers.towers import Unfamiliar
from infimm_eval.models.transformers.trial import goes_on
from infimm_eval.types import Answer

WORTH = 64
"""Tokens that a shared beginning must save: reading it apart has a price too."""

_log = logging.getLogger(__name__)

_UNREAD: tuple[type[Exception], ...] = (*ASTRAY, Unfamiliar)
"""What keeps features from being read apart from their prompts."""


class ContinuousGeneration:
    """Answers jobs that have ``tokens``, greedily, as ``generation`` would.

    That a model goes on from a KV cache as it reads whole prompts is tried on the first prompt of
    each kind, with pictures and without.  Where it does not, a warning says so, and all prompts of
    that kind are asked by ``model.generate``.
    """

    def __init__(
        self, generation: Generation, reader: Reader, images: ImageEncoder, statistics: Statistics
    ) -> None:
        self.generation = generation
        self.reader = reader
        self.images = images
        self.statistics = statistics
        self._trusted: dict[bool, bool] = {}

    def distrusts(self, *, pictures: bool) -> bool:
        """Whether prompts of this kind were tried in vain."""
        return self._trusted.get(pictures) is False

    def attach(self, jobs: Sequence[Job]) -> None:
        """Brings the features of their pictures; jobs whose features are lost, or whose pictures
        lead the tower astray, are left to ``model.generate``.  Finds the beginnings that they
        share."""
        new = [job for job in jobs if job.tokens and not job.tokens.ready]
        found = self._fetched(new)
        for job in new:
            assert job.tokens is not None
            if any(row not in found for row in job.tokens.rows):
                job.tokens = None
                continue
            job.tokens.features = [found[row] for row in job.tokens.rows]
            self.reader.find_beginnings(job.tokens)
            job.tokens.ready = True

    def _fetched(self, jobs: Sequence[Job]) -> dict[str, Tensor]:
        wanted = [row for job in jobs if job.tokens for row in job.tokens.rows]
        if not wanted:
            return {}
        pictures = len({digest for job in jobs for digest in job.digests})
        try:
            return self.images.fetch(wanted, pictures=pictures)
        except _UNREAD as error:
            _log.warning("pictures are encoded with their prompts: %s", one_line(error))
            return {}

    def share(self, jobs: Sequence[Job]) -> None:
        """Says of each which beginning is read once for several of them."""
        prompts = [job.tokens for job in jobs if job.tokens]
        found = shared([prompt.beginnings for prompt in prompts], self.reader, worth=WORTH)
        for prompt, prefix in zip(prompts, found, strict=True):
            prompt.shared = prefix

    def takes(self, job: Job) -> bool:
        """Whether the job may be answered here; where not, it is ``model.generate``'s."""
        kind = bool(job.shown)
        if kind not in self._trusted and (job.tokens or job.whole):
            self._trusted[kind] = job.tokens is not None and goes_on(
                job, job.tokens, self.generation, self.reader
            )
            if not self._trusted[kind]:
                _log.warning(
                    "%s cannot read prompts %s pictures in parts: model.generate answers them, a "
                    "batch at a time",
                    type(self.generation.model).__name__,
                    "with" if kind else "without",
                )
        return job.tokens is not None and self._trusted[kind]

    def batch(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job of the same group, in any order."""
        search = self.generation.search(jobs[0].request.decoding)
        batch = ContinuousBatch(self.reader, search, len(jobs))
        self._join(batch, jobs)
        answers: list[Answer] = []
        while batch.running:
            answers += self._advance(batch)
        return answers

    def continuously(
        self,
        window: Window[Job],
        limiter: BatchLimiter[Job],
        fill: Callable[[], Iterator[Answer]],
    ) -> Iterator[Answer]:
        """The jobs of the group of the oldest, until none of those that wait may join.  ``fill``
        brings the window back to its size, and gives the answers to what is refused."""
        like = window.oldest
        alike = [job for job in window if job.group == like.group]
        rows = limiter.fits([max(alike, key=lambda job: job.cost)])
        batch = ContinuousBatch(self.reader, self.generation.search(like.request.decoding), rows)
        joining: list[Job] = []
        try:
            while True:
                if batch.free * 4 >= len(batch):
                    yield from fill()
                    joining += window.joining(batch.free, lambda job: job.group == like.group)
                    if joining:
                        self._count(joining)
                        self._join(batch, joining)
                    joining.clear()
                if not batch.running:
                    return
                yield from self._advance(batch)
        except ASTRAY as error:
            # What was running or about to begins again: in a smaller batch, or by itself.
            again = [*batch.running, *joining]
            window.restore(again)
            if isinstance(error, RuntimeError) and lacks_memory(error):
                limiter.shrink([like] * rows, error)
                return
            _log.warning("model.generate answers %d prompts: %s", len(again), one_line(error))
            for job in again:
                job.tokens = None

    def _count(self, jobs: Sequence[Job]) -> None:
        self.statistics.count("batches")
        self.statistics.count("requests", len(jobs))

    def _join(self, batch: ContinuousBatch, jobs: Sequence[Job]) -> None:
        with self.statistics.stage("prefill"):
            batch.join(jobs)

    def _advance(self, batch: ContinuousBatch) -> list[Answer]:
        with self.statistics.stage("decode"):
            ended = batch.advance()
        return [self.generation.answer(job, ids, finite) for job, ids, finite in ended]
