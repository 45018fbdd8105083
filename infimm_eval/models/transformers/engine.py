"""The engine: requests in, answers out, by a model of the transformers library.

The stages of a request: written out and its pictures decoded by a worker thread, waiting in a
bounded window, read and answered in a batch of its like.  How an architecture computes is the
library's business; which checkpoint it is, the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
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
from infimm_eval.models.shared.refusals import ASTRAY, Refused, each_its_own, one_line, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.window import Window
from infimm_eval.models.transformers.batches import Collator
from infimm_eval.models.transformers.continuous import ContinuousGeneration
from infimm_eval.models.transformers.encoding import PromptEncoder
from infimm_eval.models.transformers.generate import Generation
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.prompts import PromptFormatter
from infimm_eval.models.transformers.rank import Likelihoods, Ranking
from infimm_eval.models.transformers.reader import Reader
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
        give_way = self._give_way
        images = ImageEncoder(self.features, self.statistics)
        if options.sharing:
            images.attend(model)
        self.encoder = PromptEncoder(model, tokenizer, formatter, images)
        collator = Collator(model, formatter, self.encoder, self.statistics)
        self.generation = Generation(model, tokenizer, formatter, collator, images, self.statistics)
        self.reader = Reader(model, images, self.statistics)
        self.continuous = ContinuousGeneration(
            self.generation, self.reader, images, self.statistics
        )
        self._goes_on = not model.config.is_encoder_decoder and not model._is_stateful
        likelihoods = Likelihoods(
            model,
            images,
            self.statistics,
            give_way,
            pad=int(tokenizer.pad_token_id),
            sharing=options.sharing,
        )
        self.ranking = Ranking(likelihoods, tokenizer, collator, self.reader, self.statistics)
        self.limiter: BatchLimiter[Job] = (
            AutoBatchSize(
                partial(bytes_of, model),
                model.device,
                self.statistics,
                give_way,
                weights=sum(weight.numel() for weight in model.parameters()),
            )
            if options.batch_size == "auto"
            else BatchLimiter(options.batch_size, self.statistics, give_way)
        )
        self._pictures: set[str] = set()

    def generate(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Answers, each request once, in the order in which they are ready."""
        return self._answers(requests, self._generate)

    def rank(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Options by their log-likelihood; prompts of a kind that was not tried yet are read one by
        one."""
        return self._answers(requests, self.ranking.batch, ranking=True)

    def release(self) -> None:
        """Frees what is kept for later requests: beginnings and features."""
        self.reader.clear()
        self.features.clear()

    def _give_way(self) -> bool:
        return self.reader.give_way() or self.features.give_way()

    def _generate(self, jobs: Sequence[Job]) -> list[Answer]:
        own = self.continuous.takes(jobs[0])
        return (self.continuous if own else self.generation).batch(jobs)

    def _answers(
        self,
        requests: Iterable[Request],
        work: Callable[[Sequence[Job]], list[Answer]],
        *,
        ranking: bool = False,
    ) -> Generator[Answer]:
        """Pictures are decoded and prompts encoded by threads while the model computes."""
        limiter = self.limiter
        window = Window[Job](limiter, self.options.window, rows=WINDOW_ROWS)
        depth = 2 * min(limiter.most, WINDOW_ROWS)
        prepare = partial(self._prepare, ranking=ranking)
        jobs = prefetch(requests, prepare, workers=self.options.workers, depth=depth)
        work = partial(each_its_own, work=work, refuse=self._refuse)
        fill = partial(self._fill, window, jobs)
        with closing(jobs):
            while True:
                yield from fill()
                if not window:
                    return
                if not ranking and limiter.measured and self.continuous.takes(window.oldest):
                    yield from self.continuous.continuously(window, limiter, fill)
                    continue
                batch = window.batch()
                if ranking and len(batch) > 1 and not all(map(self._together, batch)):
                    window.restore(batch[1:])
                    batch = batch[:1]
                self.statistics.count("batches")
                self.statistics.count("requests", len(batch))
                yield from limiter.run(batch, work)

    def _together(self, job: Job) -> bool:
        """Whether its options may be ranked beside those of other prompts."""
        return self.ranking.likelihoods.trusts(job) and self.continuous.takes(job)

    def _fill(self, window: Window[Job], jobs: Generator[Job | Refused]) -> Iterator[Answer]:
        """Brings the window back to its size, with the features of all pictures."""
        before = len(window)
        new: list[Job] = []
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
            new.append(job)
        self.continuous.attach(new)
        if len(window) != before:
            self.continuous.share(list(window))

    def prepare(self, request: Request) -> Job:
        """In a worker thread."""
        if request.decoding.temperature:
            raise UsageError(
                "this model answers greedily or by beams; a temperature needs a served model "
                "(openai:NAME)"
            )
        return prepared(request, self.formatter)

    def _prepare(self, request: Request, *, ranking: bool) -> Job | Refused:
        try:
            job = self.prepare(request)
            new = request.decoding.max_new_tokens
            if ranking:
                job.options = self.ranking.options(job)
                new = max(map(len, job.options), default=0)
            if self.options.sharing and (ranking or request.decoding.num_beams == 1):
                self._encode(job, new)
            return job
        except (PictureError, PromptRefused) as error:
            return Refused(refused(request, one_line(error)))

    def _encode(self, job: Job, new: int) -> None:
        if self.continuous.distrusts(pictures=bool(job.shown)):
            return
        with suppress(*ASTRAY):  # it is refused when it is its turn
            if self._goes_on:
                job.tokens = self.encoder.encode(job, new)
            job.whole = job.tokens is None

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
