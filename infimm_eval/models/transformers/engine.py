"""The engine: requests in, answers out, by a model of the transformers library.

The stages of a request: written out and its pictures decoded by a worker thread, waiting in a
bounded window, read and answered in a batch of its like.  How an architecture computes is the
library's business; which checkpoint it is, the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.pictures import PictureError
from infimm_eval.models.options import BatchSize
from infimm_eval.models.shared.auto_batch_size import AutoBatchSize
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.feature_cache import FeatureCache
from infimm_eval.models.shared.prefetch import prefetch
from infimm_eval.models.shared.refusals import Refused, each_its_own, one_line, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.window import Window
from infimm_eval.models.transformers.batches import Collator
from infimm_eval.models.transformers.generate import Generation
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.prompts import PromptFormatter
from infimm_eval.models.transformers.rank import Likelihoods, Ranking
from infimm_eval.models.transformers.requests import Job, bytes_of, prepared
from infimm_eval.models.transformers.templates import PromptRefused
from infimm_eval.types import Answer, Request

WINDOW_ROWS = 16
"""Rows of a batch that count for the window: all that wait hold their pictures decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How the work is arranged.  No answer depends on any of these."""

    batch_size: BatchSize = "auto"
    """Bounds the rows of a batch; with ``auto`` the first is a small one that is measured, and
    later ones have the rows that half of the free memory holds, at most 256 on an accelerator and
    16 on a processor."""
    window: int = 8
    """Batches' worth of requests that wait at a time."""
    workers: int = 2
    """Threads that decode pictures."""
    device_cache: int | None = None
    """Bytes for features of pictures near the model; a quarter of what is free, unless given."""
    host_cache: int | None = None
    """Bytes for features in memory; half of what is free, unless given."""
    picture_cache: Path | None = None
    """A folder that keeps features for later runs too."""
    by_tower: bool = False
    """Whether they are kept by the tensors that they depend on: for the checkpoints of one
    training, which often share their tower."""
    sharing: bool = True
    """Whether each distinct picture is encoded once, and a prompt read once for all its options,
    where the architecture allows it."""


class Engine:
    """``generate`` and ``rank`` for one model and its tokenizer, whose features of pictures are
    those of ``identity``."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        formatter: PromptFormatter,
        *,
        identity: str,
        options: EngineOptions,
    ) -> None:
        self.model = model
        self.formatter = formatter
        self.options = options
        self.statistics = Statistics()
        self.features = FeatureCache(
            identity,
            self.statistics,
            device=model.device,
            device_bytes=options.device_cache,
            host_bytes=options.host_cache,
            folder=options.picture_cache,
        )
        give_way = self.features.give_way
        images = ImageEncoder(self.features, self.statistics)
        if options.sharing:
            images.attend(model)
        collator = Collator(model, tokenizer, formatter, self.statistics)
        self.generation = Generation(model, tokenizer, formatter, collator, images, self.statistics)
        likelihoods = Likelihoods(
            model,
            images,
            self.statistics,
            give_way,
            pad=int(tokenizer.pad_token_id),
            sharing=options.sharing,
        )
        self.ranking = Ranking(likelihoods, tokenizer, collator, self.statistics)
        self.limiter: BatchLimiter[Job] = (
            AutoBatchSize(partial(bytes_of, model), model.device, self.statistics, give_way)
            if options.batch_size == "auto"
            else BatchLimiter(options.batch_size, self.statistics, give_way)
        )
        self._alone: BatchLimiter[Job] = BatchLimiter(1, self.statistics, give_way)
        self._pictures: set[str] = set()

    def generate(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Answers, each request once, in the order in which they are ready."""
        return self._answers(requests, self.generation.batch, self.limiter)

    def rank(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Options by their log-likelihood, prompt by prompt; the options of one are its batch."""
        return self._answers(requests, self.ranking.batch, self._alone)

    def release(self) -> None:
        """Frees what is kept for later requests: features."""
        self.features.clear()

    def _answers(
        self,
        requests: Iterable[Request],
        work: Callable[[Sequence[Job]], list[Answer]],
        limiter: BatchLimiter[Job],
    ) -> Generator[Answer]:
        """Pictures are decoded by threads while the model computes."""
        window = Window[Job](limiter, self.options.window, rows=WINDOW_ROWS)
        depth = 2 * min(limiter.most, WINDOW_ROWS)
        jobs = prefetch(requests, self._prepare, workers=self.options.workers, depth=depth)
        work = partial(each_its_own, work=work, refuse=self._refuse)
        with closing(jobs):
            while True:
                while len(window) < window.capacity:
                    with self.statistics.waiting("idle"):
                        job = next(jobs, None)
                    if job is None:
                        break
                    if isinstance(job, Refused):
                        yield job.answer
                        continue
                    self._met(job)
                    window.add(job)
                if not window:
                    return
                batch = window.batch()
                self.statistics.count("batches")
                self.statistics.count("requests", len(batch))
                yield from limiter.run(batch, work)

    def prepare(self, request: Request) -> Job:
        """In a worker thread."""
        if request.decoding.temperature:
            raise UsageError(
                "this model answers greedily or by beams; a temperature needs a served model "
                "(openai:NAME)"
            )
        return prepared(request, self.formatter)

    def _prepare(self, request: Request) -> Job | Refused:
        try:
            return self.prepare(request)
        except (PictureError, PromptRefused) as error:
            return Refused(refused(request, one_line(error)))

    def _refuse(self, job: Job, error: Exception) -> Answer:
        """With the pictures that the processor does not take, if any is to blame."""
        blamed = job.blamed(self.formatter.takes)
        why = f"{', '.join(blamed)}: {one_line(error)}" if blamed else one_line(error)
        return refused(job.request, why, job.notes)

    def _met(self, job: Job) -> None:
        new = set(job.digests) - self._pictures
        self._pictures |= new
        self.statistics.count("pictures_distinct", len(new))
        self.statistics.count("pictures_in_prompts", len(job.digests))
