"""The engine: requests in, answers out, by a Flamingo that never reads the same thing twice.

The stages of a request: prepared by a worker thread (text to ids, pictures to pixels), pictures
encoded, waiting in a bounded window, read and answered in a batch of its like (by continuous
batching where it is decoded greedily).  Prompts and files are its callers' business.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.pictures import PictureError
from infimm_eval.flamingo.processor import PromptTooLong
from infimm_eval.models.flamingo.generate import Generation
from infimm_eval.models.flamingo.images import ImageEncoder, Tower
from infimm_eval.models.flamingo.prefix_cache import PrefixCache
from infimm_eval.models.flamingo.prompts import PromptFormatter
from infimm_eval.models.flamingo.rank import Ranking, option_ids
from infimm_eval.models.flamingo.requests import Job, bytes_of
from infimm_eval.models.options import BatchSize
from infimm_eval.models.shared.auto_batch_size import AutoBatchSize
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.beginnings import beginnings, shared
from infimm_eval.models.shared.feature_cache import FeatureCache
from infimm_eval.models.shared.prefetch import prefetch
from infimm_eval.models.shared.refusals import Refused, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.weights import digest
from infimm_eval.models.shared.window import Window
from infimm_eval.types import Answer, Request

WORTH = 128
"""Tokens that a shared beginning must save: reading it apart has a price too."""

PREFIXES = 8
"""Beginnings whose KV caches are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How the work is arranged.  No answer depends on any of these."""

    batch_size: BatchSize = "auto"
    """Bounds the rows of a batch; with ``auto`` the first is a small one that is measured, and
    later ones have the rows that half of the free memory holds, long prompts fewer than short ones,
    at most 256 on an accelerator and 16 on a processor (64 of the smallest models)."""
    picture_batch: int = 16
    """Pictures that are encoded at once."""
    window: int = 4
    """Batches' worth of requests that wait at a time: memory does not grow with their number."""
    workers: int | None = None
    """Threads that prepare requests: one less than there are processors, unless given."""
    device_cache: int | None = None
    """Bytes for latents near the model; a quarter of what is free, unless given."""
    host_cache: int | None = None
    """Bytes for latents in memory; half of what is free, unless given."""
    picture_cache: Path | None = None
    """A folder that keeps latents for later runs too."""
    by_tower: bool = False
    """Whether it keeps what the tower makes of a picture too, and both by the tensors that they
    depend on: for the checkpoints of one training, which often share their tower."""
    joined: bool = True
    """Whether weights that are read together are copied into one memory."""
    sharing: bool = True
    """Whether common beginnings are read once."""
    streaming: bool = True
    """Whether greedy rows join a running batch."""
    recording: bool = True
    """Whether decode steps are replayed where the device has a way to."""


class Engine:
    """``generate`` and ``rank`` for one loaded model, whose ``fingerprint`` names its weights."""

    def __init__(
        self,
        model: Flamingo,
        formatter: PromptFormatter,
        *,
        fingerprint: str,
        options: EngineOptions,
        graphs: CudaGraphs | None = None,
    ) -> None:
        """``graphs``: steps that were recorded on this model before."""
        self.model = model
        self.formatter = formatter
        self.processor = formatter.processor
        self.options = options
        self.statistics = Statistics(model.device)
        self.workers = options.workers or max(1, min(8, (os.cpu_count() or 2) - 1))
        by_tower = options.by_tower and options.picture_cache is not None
        tower = _digest(model, "tower.") if by_tower else ""
        seeing = f"{tower} {_digest(model, 'resampler.')}" if by_tower else ""
        if options.joined:
            model.fuse()
        self.images = self._image_encoder(seeing or fingerprint, tower)
        self.prefixes = PrefixCache(model, PREFIXES, self.statistics)
        graphs = graphs or (CudaGraphs() if options.recording else CudaGraphs(after=None))
        self.generation = Generation(model, self.processor, graphs, self.prefixes, self.statistics)
        self.ranking = Ranking(model, self.prefixes, self.statistics)
        self.limiter: BatchLimiter[Job] = (
            AutoBatchSize(
                partial(bytes_of, model),
                model.device,
                self.statistics,
                self._give_way,
                weights=sum(weight.numel() for weight in model.parameters()),
            )
            if options.batch_size == "auto"
            else BatchLimiter(options.batch_size, self.statistics, self._give_way)
        )

    def report(self) -> dict[str, float]:
        """Everything counted so far, all of it growing."""
        graphs = self.generation.graphs
        counted = {
            "steps": graphs.steps,
            "recordings": graphs.count,
            "seconds_recording": round(graphs.seconds, 4),
        }
        return self.statistics.report() | {name: n for name, n in counted.items() if n}

    def generate(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Answers, each request once, in the order in which they are ready."""
        streaming = self.options.streaming
        return self._answers(requests, self._prepare, self.generation.batch, streaming=streaming)

    def rank(self, requests: Iterable[Request]) -> Generator[Answer]:
        """Options by their log-likelihood, each request once."""
        prepare = partial(self._prepare, ranking=True)
        return self._answers(requests, prepare, self.ranking.batch, streaming=False)

    def release(self) -> None:
        """Frees what is kept for later requests: prefixes, latents, decoding memory."""
        self.prefixes.clear()
        self.generation.graphs.give_way()
        self.images.features.clear()

    def _image_encoder(self, weights: str, tower: str) -> ImageEncoder:
        """``weights`` name what latents depend on, ``tower`` what the tower's output does; without
        the latter that is not kept."""
        model, options, pictures = self.model, self.options, self.processor.pictures
        features = FeatureCache(
            # Not all of the resampler is in the weights: its heads may be the user's word.
            f"{weights} {model.resampler.config} {pictures} {model.dtype}",
            self.statistics,
            device=model.device,
            device_bytes=options.device_cache,
            host_bytes=options.host_cache,
            folder=options.picture_cache,
        )
        return ImageEncoder(
            pictures,
            torch.inference_mode()(model.encode_images),
            features,
            self.statistics,
            dtype=model.dtype,
            batch=options.picture_batch,
            tower=self._tower(f"{tower} {pictures} {model.dtype}") if tower else None,
        )

    def _tower(self, identity: str) -> Tower:
        """The tower's output goes to disk and is needed once: memory is for latents."""
        features = FeatureCache(
            f"tower {identity}",
            Statistics(self.model.device),
            device=self.model.device,
            device_bytes=0,
            host_bytes=0,
            folder=self.options.picture_cache,
        )
        inference = torch.inference_mode()
        return Tower(features, inference(self.model.see), inference(self.model.resample))

    def _give_way(self) -> bool:
        return self.generation.graphs.give_way() or self.images.features.give_way()

    def _answers(
        self,
        requests: Iterable[Request],
        prepare: Callable[[Request], Job | Refused],
        work: Callable[[Sequence[Job]], list[Answer]],
        *,
        streaming: bool,
    ) -> Generator[Answer]:
        depth = min(64, 2 * self.limiter.most)
        prepared = prefetch(requests, prepare, workers=self.workers, depth=depth)
        window = Window[Job](self.limiter, self.options.window)
        fill = partial(self._fill, window, prepared)
        with closing(prepared):
            while True:
                yield from fill()
                if not window:
                    return
                if streaming and window.oldest.greedy and self.limiter.measured:
                    yield from self.generation.continuously(window, self.limiter, fill)
                    continue
                batch = window.batch()
                self.statistics.count("batches")
                self.statistics.count("requests", len(batch))
                yield from self.limiter.run(batch, work)

    def _prepare(self, request: Request, *, ranking: bool = False) -> Job | Refused:
        """In a worker thread."""
        decoding = request.decoding
        if decoding.temperature:
            raise UsageError(
                "this model answers greedily or by beams; a temperature needs a served model "
                "(openai:NAME)"
            )
        marks, encode = self.model.tokens, self.formatter.encode
        positions = self.model.decoder.context_length
        tokenizer = self.processor.tokenizer
        try:
            encoded, pictures = encode(request.prompt, positions - decoding.max_new_tokens)
            options = option_ids(request, encoded.tail, tokenizer) if ranking else ()
            longest = max(map(len, options), default=0)
            if longest > decoding.max_new_tokens:
                encoded, pictures = encode(request.prompt, positions - longest)
            digests = tuple(map(self.images.digest, pictures))
        except (PromptTooLong, PictureError) as error:
            return Refused(refused(request, str(error)))
        ends = marks.eos
        if request.prompt.style == "completion":
            ends = (*ends, marks.end_of_chunk)
        told = map(tokenizer.last_id, decoding.banned)
        never = {marks.image, marks.end_of_chunk, *(id for id in told if id is not None)}
        notes = {"tokens_in": len(encoded.ids)}
        if encoded.dropped_shots:
            notes["dropped_shots"] = encoded.dropped_shots
        return Job(
            request=request,
            ids=encoded.ids,
            eos=frozenset(ends),
            banned=frozenset(never.difference(ends)),
            pictures=tuple(pictures),
            digests=digests,
            beginnings=beginnings(encoded.ids, marks.image, digests),
            options=options,
            written=encoded.written,
            notes=notes,
        )

    def _fill(self, window: Window[Job], prepared: Generator[Job | Refused]) -> Iterator[Answer]:
        """Brings the window back to its size, all pictures encoded.  Where memory gives out, the
        jobs wait without pictures, and the next call sees to them."""
        before = len(window)
        missing = 0
        while len(window) < window.capacity:
            with self.statistics.waiting("idle"):
                job = next(prepared, None)
            if job is None:
                break
            if isinstance(job, Refused):
                yield job.answer
                continue
            window.add(job)
            missing += sum(not self.images.features.holds(digest) for digest in job.digests)
            if missing >= self.images.limiter.size:
                self._attach(window)
                missing = 0
        self._attach(window)
        if self.options.sharing and len(window) != before:
            waiting = list(window)
            found = shared([job.beginnings for job in waiting], self.prefixes, worth=WORTH)
            for job, prefix in zip(waiting, found, strict=True):
                job.shared = prefix

    def _attach(self, waiting: Iterable[Job]) -> None:
        jobs = [job for job in waiting if len(job.latents) < len(job.digests)]
        wanted = {d: i for job in jobs for d, i in zip(job.digests, job.pictures, strict=True)}
        found = self.images.fetch(wanted)
        for job in jobs:
            job.latents = [found[digest] for digest in job.digests]
            self.statistics.count("pictures_in_prompts", len(job.digests))


def _digest(model: Flamingo, part: str) -> str:
    return digest((n, t) for n, t in model.state_dict().items() if n.startswith(part))
