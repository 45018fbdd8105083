"""Requests in, answers out, by a Flamingo that never reads the same thing twice.

The stages of a request: prepared by a worker thread (text to ids, pictures to pixels), pictures
encoded, waiting in a bounded window, read and answered in a batch of its like.  Knows ids and
latents; wording and files are its callers' business.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, GenerationConfig, KVCache
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.processor import Encoded, Processor, PromptTooLong
from infimm_eval.flamingo.ranking import rank
from infimm_eval.models.engine.ahead import ahead
from infimm_eval.models.engine.estimate import bytes_of
from infimm_eval.models.engine.fit import Fit
from infimm_eval.models.engine.gallery import Gallery
from infimm_eval.models.engine.jobs import Job, Refused, take, widest
from infimm_eval.models.engine.latents import Latents
from infimm_eval.models.engine.memory import Room
from infimm_eval.models.engine.prefixes import Kept, beginnings, shared
from infimm_eval.models.engine.statistics import Statistics
from infimm_eval.models.engine.stream import Stream
from infimm_eval.types import Answer, Image, Prompt, Request

Encode: TypeAlias = Callable[[Prompt, int], tuple[Encoded, list[Image]]]
"""(prompt, room in tokens) -> ids, and the pictures that their tags stand for."""

WORTH = 128
"""Tokens that a shared beginning must save: reading it apart has a price too."""


class Engine:
    """``generate`` and ``rank`` for one loaded model.

    ``batch_size`` bounds the rows of a batch; with ``auto`` the first is a small one that is
    measured, and later ones have the rows that half of the free memory holds, long prompts fewer
    than short ones, at most 256 on an accelerator and 16 on a processor.  ``window`` batches' worth
    of requests wait at a time, so that memory does not grow with their number.  ``workers``
    threads prepare them: one less than there are processors, unless given.  ``device_cache`` and
    ``host_cache`` are bytes for latents, by default a quarter and half of what is free;
    ``cache_folder`` keeps them for later runs too.
    ``sharing`` reads common beginnings once; ``streaming`` lets greedy rows join a running batch;
    ``recording`` replays decode steps where the device has a way to.  No answer depends on any of
    these.
    """

    def __init__(
        self,
        model: Flamingo,
        encode: Encode,
        processor: Processor,
        *,
        fingerprint: str,
        batch_size: int | Literal["auto"] = "auto",
        picture_batch: int = 16,
        window: int = 4,
        workers: int | None = None,
        device_cache: int | None = None,
        host_cache: int | None = None,
        cache_folder: Path | None = None,
        sharing: bool = True,
        streaming: bool = True,
        recording: bool = True,
    ) -> None:
        self.model = model
        self.processor = processor
        self.statistics = Statistics(model.device)
        self.workers = workers or max(1, min(8, (os.cpu_count() or 2) - 1))
        self.window = window
        self.sharing, self.streaming = sharing, streaming
        self.recorder = CudaGraphs() if recording else CudaGraphs(after=None)
        self.kept = Kept(model, 8, self.statistics)
        self._encode = encode
        model.fuse()
        pictures = processor.pictures
        latents = Latents(
            # Not all of the resampler is in the weights: its heads may be the user's word.
            f"{fingerprint} {model.config.resampler} {pictures} {model.dtype}",
            self.statistics,
            device=model.device,
            device_bytes=device_cache,
            host_bytes=host_cache,
            folder=cache_folder,
        )

        def give_way() -> bool:
            return self.recorder.give_way() or latents.give_way()

        self.room: Room[Job] = (
            Fit(partial(bytes_of, model), model.device, self.statistics, give_way)
            if batch_size == "auto"
            else Room(batch_size, self.statistics, give_way)
        )
        self.gallery = Gallery(
            pictures,
            torch.inference_mode()(model.encode_images),
            latents,
            self.statistics,
            dtype=model.dtype,
            batch=picture_batch,
        )

    def report(self) -> dict[str, float]:
        """Everything counted so far, all of it growing."""
        recorder = self.recorder
        counted = {
            "steps": recorder.steps,
            "recordings": recorder.count,
            "seconds_recording": round(recorder.seconds, 4),
        }
        return self.statistics.report() | {name: n for name, n in counted.items() if n}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return self._answers(requests, self._prepare, self._generate, streaming=self.streaming)

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        prepare = partial(self._prepare, ranking=True)
        return self._answers(requests, prepare, self._rank, streaming=False)

    def _answers(
        self,
        requests: Iterable[Request],
        prepare: Callable[[Request], Job | Refused],
        work: Callable[[Sequence[Job]], list[Answer]],
        *,
        streaming: bool,
    ) -> Iterator[Answer]:
        depth = min(64, 2 * self.room.most)
        prepared = ahead(requests, prepare, workers=self.workers, depth=depth)
        waiting: list[Job] = []
        with closing(prepared):
            while True:
                yield from self._fill(waiting, prepared)
                if not waiting:
                    return
                if streaming and waiting[0].greedy and self.room.measured:
                    yield from self._stream(waiting, prepared)
                    continue
                largest = max(waiting, key=lambda job: job.cost)
                batch = take(waiting, self.room.fits([largest]))
                self.statistics.count("batches")
                self.statistics.count("requests", len(batch))
                yield from self.room.run(batch, work)

    # -- before the model ------------------------------------------------------------------------

    def _prepare(self, request: Request, *, ranking: bool = False) -> Job | Refused:
        """In a worker thread."""
        decoding = request.decoding
        if decoding.temperature:
            raise UsageError(
                "this model answers greedily or by beams; a temperature needs a served model "
                "(openai:NAME)"
            )
        positions = self.model.config.language.max_position_embeddings
        try:
            encoded, pictures = self._encode(request.prompt, positions - decoding.max_new_tokens)
            options = self._options(request, encoded.tail) if ranking else ()
            longest = max(map(len, options), default=0)
            if longest > decoding.max_new_tokens:
                encoded, pictures = self._encode(request.prompt, positions - longest)
        except PromptTooLong as error:
            return Refused(Answer(request.id, "", "error", notes={"error": str(error)}))
        ends = self.model.config.language.eos_ids
        if request.prompt.style == "completion":
            ends = (*ends, self.model.config.eoc_token_id)
        notes = {"tokens_in": len(encoded.ids)}
        if encoded.dropped_shots:
            notes["dropped_shots"] = encoded.dropped_shots
        digests = tuple(map(self.gallery.digest, pictures))
        return Job(
            request=request,
            ids=encoded.ids,
            eos=frozenset(ends),
            pictures=tuple(pictures),
            digests=digests,
            beginnings=beginnings(encoded.ids, self.model.config.image_token_id, digests),
            options=options,
            notes=notes,
        )

    def _options(self, request: Request, tail: str) -> tuple[tuple[int, ...], ...]:
        """In ids, as they follow a prompt that ends in ``tail``."""
        continuation = self.processor.tokenizer.continuation
        options = tuple(tuple(continuation(tail, option)) for option in request.options)
        if not all(options) or not options:
            what = "an empty option" if options else "no options"
            raise UsageError(
                f"request {request.id!r} has {what} to rank; every option needs a text"
            )
        return options

    def _fill(self, waiting: list[Job], prepared: Generator[Job | Refused]) -> Iterator[Answer]:
        """Brings the window back to its size, all pictures encoded.  Where memory gives out, the
        jobs wait without pictures, and the next call sees to them."""
        before = len(waiting)
        missing = 0
        while len(waiting) < self.window * self.room.size:
            with self.statistics.waiting("idle"):
                job = next(prepared, None)
            if job is None:
                break
            if isinstance(job, Refused):
                yield job.answer
                continue
            waiting.append(job)
            missing += sum(not self.gallery.latents.holds(digest) for digest in job.digests)
            if missing >= self.gallery.room.size:
                self._attach(waiting)
                missing = 0
        self._attach(waiting)
        if self.sharing and len(waiting) != before:
            found = shared([job.beginnings for job in waiting], self.kept, worth=WORTH)
            for job, prefix in zip(waiting, found, strict=True):
                job.shared = prefix

    def _attach(self, waiting: Sequence[Job]) -> None:
        jobs = [job for job in waiting if len(job.latents) < len(job.digests)]
        wanted = {d: i for job in jobs for d, i in zip(job.digests, job.pictures, strict=True)}
        found = self.gallery.fetch(wanted)
        for job in jobs:
            job.latents = [found[digest] for digest in job.digests]
            self.statistics.count("pictures_in_prompts", len(job.digests))

    # -- by the model ----------------------------------------------------------------------------

    def _generate(self, jobs: Sequence[Job]) -> list[Answer]:
        decoding = jobs[0].request.decoding
        prefixes = self._prefixes(jobs)
        config = GenerationConfig(
            max_new_tokens=[job.request.decoding.max_new_tokens for job in jobs],
            min_new_tokens=decoding.min_new_tokens,
            num_beams=decoding.num_beams,
            length_penalty=decoding.length_penalty,
            eos_ids=jobs[0].eos,
        )
        generated = generate(
            self.model,
            *self._batch(jobs),
            config=config,
            stop=self._stop(decoding.stop),
            prefixes=prefixes,
            graphs=self.recorder,
            stage=self.statistics.stage,
        )
        return [
            self._answer(job, answer.ids, answer.finish)
            for job, answer in zip(jobs, generated, strict=True)
        ]

    def _stream(self, waiting: list[Job], prepared: Generator[Job | Refused]) -> Iterator[Answer]:
        """Greedy jobs of one search, until none of those that wait fits into the same cache."""
        like = max(waiting, key=lambda job: (job.greedy, job.tokens))
        rows = self.room.fits([like])
        stop = self._stop(like.request.decoding.stop)
        stream: Stream | None = None
        joining: list[Job] = []
        try:
            with self.recorder.lend(self.model, rows, like.tokens) as step:
                rows = len(step.cache)
                stream = Stream(step, like, stop=stop)
                yield from self._flow(stream, joining, waiting, prepared)
        except RuntimeError as error:
            # What was running or about to begins again, in a cache of half the size.
            waiting += [*(stream.running if stream else ()), *joining]
            self.room.shrink([like] * rows, error)

    def _flow(
        self,
        stream: Stream,
        joining: list[Job],
        waiting: list[Job],
        prepared: Generator[Job | Refused],
    ) -> Iterator[Answer]:
        """Rows are refilled when a quarter of them is free, so that prompts are read in company;
        ``joining`` are those that are neither waiting nor running yet."""
        while True:
            if stream.free * 4 >= len(stream):
                yield from self._fill(waiting, prepared)
                joining += take(waiting, stream.free, like=stream.like, room=stream.capacity)
                self._join(stream, joining)
                joining.clear()
            if not stream.running:
                return
            if not waiting and stream.free * 2 >= len(stream) and stream.movable:
                stream.shrink()
            with self.statistics.stage("decode"):
                ended = stream.advance()
            for job, ids, finish in ended:
                yield self._answer(job, ids, finish)

    def _join(self, stream: Stream, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        self.statistics.count("batches")
        self.statistics.count("requests", len(jobs))
        prefixes = self._prefixes(jobs)
        ids, _, latents, counts = self._batch(jobs)
        with self.statistics.stage("prefill"):
            stream.join(jobs, ids, latents, counts, prefixes)

    def _answer(self, job: Job, ids: Sequence[int], finish: str) -> Answer:
        self.statistics.count("tokens_out", len(ids))
        return Answer(
            job.request.id,
            self.processor.tokenizer.decode(ids),
            "length" if finish == "length" else "stop",
            notes={**job.notes, "tokens_out": len(ids)},
        )

    def _prefixes(self, jobs: Sequence[Job]) -> list[KVCache | None]:
        with self.statistics.stage("prefill"):
            return [
                self.kept.get(job.shared, job.ids, job.latents) if job.shared else None
                for job in jobs
            ]

    def _rank(self, jobs: Sequence[Job]) -> list[Answer]:
        prefixes = self._prefixes(jobs)
        with self.statistics.stage("rank"):
            ranked = rank(
                self.model,
                *self._batch(jobs),
                continuations=[job.options for job in jobs],
                prefixes=prefixes,
            )
        answers = []
        for job, options in zip(jobs, ranked, strict=True):
            logliks = tuple(option.sum for option in options)
            best = max(range(len(logliks)), key=logliks.__getitem__)
            text = job.request.options[best]
            answers.append(Answer(job.request.id, text, logliks=logliks, notes=job.notes))
        return answers

    def _batch(self, jobs: Sequence[Job]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Ids and mask (B, T), padded on the right; latents (B, I, V, D) and how many are real."""
        device = self.model.device
        longest = max(len(job.ids) for job in jobs)
        self.statistics.count("tokens_in", sum(len(job.ids) for job in jobs))
        ids = torch.tensor([job.ids + [0] * (longest - len(job.ids)) for job in jobs])
        mask = torch.tensor([[1] * len(j.ids) + [0] * (longest - len(j.ids)) for j in jobs])
        if not (most := widest(jobs)):
            return ids.to(device), mask.to(device), None, None
        distinct = {d: p for job in jobs for d, p in zip(job.digests, job.latents, strict=True)}
        place = {digest: n for n, digest in enumerate(distinct, 1)}
        table = torch.stack([torch.zeros_like(next(iter(distinct.values()))), *distinct.values()])
        slots = [[place[d] for d in job.digests] + [0] * (most - len(job.digests)) for job in jobs]
        latents = table[torch.tensor(slots, device=device)]
        counts = torch.tensor([len(job.latents) for job in jobs], device=device)
        return ids.to(device), mask.to(device), latents, counts

    def _stop(self, stops: Sequence[str]) -> Callable[[int, Sequence[int]], bool] | None:
        """Whether one of ``stops`` appears; only the end of the text can have brought a new one."""
        if not stops:
            return None
        enough = max(map(len, stops)) + 8
        decode = self.processor.tokenizer.decode

        def stopped(_: int, ids: Sequence[int]) -> bool:
            text = decode(ids[-enough:])
            return any(stop in text for stop in stops)

        return stopped
