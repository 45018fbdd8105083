"""Answers by a Flamingo: a batch at once, or rows that join a running batch and leave it.

Knows ids and the search; pictures are encoded and windows filled elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from infimm_eval.flamingo import Flamingo, GenerationConfig, generate
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.decoding import Finish
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK
from infimm_eval.models.flamingo.batches import collate
from infimm_eval.models.flamingo.continuous_batch import ContinuousBatch
from infimm_eval.models.flamingo.prefix_cache import PrefixCache
from infimm_eval.models.flamingo.requests import Job
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.refusals import NOT_FINITE, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.window import Window
from infimm_eval.types import Answer


class Generation:
    """Answers jobs with one model.  ``graphs`` lends the memory that answers are decoded in."""

    def __init__(
        self,
        model: Flamingo,
        processor: Processor,
        graphs: CudaGraphs,
        prefixes: PrefixCache,
        statistics: Statistics,
    ) -> None:
        self.model = model
        self.processor = processor
        self.graphs = graphs
        self.prefixes = prefixes
        self.statistics = statistics
        spelled = model.tokens.end_is_spelled
        self._end = processor.tokenizer.name(END_OF_CHUNK) if spelled else ""

    def batch(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job of the same group, in order."""
        decoding = jobs[0].request.decoding
        prefixes = self.prefixes.of(jobs)
        config = GenerationConfig(
            max_new_tokens=[job.request.decoding.max_new_tokens for job in jobs],
            min_new_tokens=decoding.min_new_tokens,
            num_beams=decoding.num_beams,
            length_penalty=decoding.length_penalty,
            eos_ids=jobs[0].eos,
            banned_ids=jobs[0].banned,
        )
        generated = generate(
            self.model,
            *collate(jobs, self.model.device, self.statistics),
            config=config,
            stop=self._stop(decoding.stop),
            prefixes=prefixes,
            graphs=self.graphs,
            stage=self.statistics.stage,
        )
        return [
            self._answer(job, answer.ids, answer.finish)
            for job, answer in zip(jobs, generated, strict=True)
        ]

    def continuously(
        self,
        window: Window[Job],
        limiter: BatchLimiter[Job],
        fill: Callable[[], Iterator[Answer]],
    ) -> Iterator[Answer]:
        """Greedy jobs of the group of the oldest, until none of those that wait may join: none
        fits into the same cache, or one that does not is overdue.

        ``fill`` brings the window back to its size, and gives the answers to what is refused.
        """
        group = window.oldest.group
        like = max((job for job in window if job.group == group), key=lambda job: job.tokens)
        rows = limiter.fits([like])
        running: ContinuousBatch | None = None
        joining: list[Job] = []
        try:
            with self.graphs.lend(self.model, rows, like.tokens) as step:
                rows = len(step.cache)
                stop = self._stop(like.request.decoding.stop)
                running = ContinuousBatch(step, like, stop=stop)
                yield from self._flow(running, joining, window, fill)
        except RuntimeError as error:
            # What was running or about to begins again, in a cache of half the size.
            window.restore([*(running.running if running else ()), *joining])
            limiter.shrink([like] * rows, error)

    def _flow(
        self,
        batch: ContinuousBatch,
        joining: list[Job],
        window: Window[Job],
        fill: Callable[[], Iterator[Answer]],
    ) -> Iterator[Answer]:
        """Rows are refilled when a quarter of them is free, so that prompts are read in company;
        ``joining`` are those that are neither waiting nor running yet."""
        while True:
            if batch.free * 4 >= len(batch):
                yield from fill()
                joining += window.joining(batch.free, batch.admits)
                self._join(batch, joining)
                joining.clear()
            if not batch.running:
                return
            if not window and batch.free * 2 >= len(batch) and batch.movable:
                batch.shrink()
            with self.statistics.stage("decode"):
                ended = batch.advance()
            for job, ids, finish in ended:
                yield self._answer(job, ids, finish)

    def _join(self, batch: ContinuousBatch, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        self.statistics.count("batches")
        self.statistics.count("requests", len(jobs))
        prefixes = self.prefixes.of(jobs)
        ids, _, latents, counts = collate(jobs, self.model.device, self.statistics)
        with self.statistics.stage("prefill"):
            batch.join(jobs, ids, latents, counts, prefixes)

    def _answer(self, job: Job, ids: Sequence[int], finish: Finish) -> Answer:
        if finish == "nan":
            return refused(job.request, NOT_FINITE, job.notes)
        self.statistics.count("tokens_out", len(ids))
        said = self.processor.tokenizer.decode(ids)
        return Answer(
            job.request.id,
            said.partition(self._end)[0] if self._end else said,
            "length" if finish == "length" else "stop",
            notes={**job.notes, "tokens_out": len(ids)},
            prompt=job.written,
        )

    def _stop(self, stops: Sequence[str]) -> Callable[[int, Sequence[int]], bool] | None:
        """Whether one of ``stops`` appears; only the end of the text can have brought a new one."""
        stops = (*stops, self._end) if self._end else stops
        if not stops:
            return None
        enough = max(map(len, stops)) + 8
        decode = self.processor.tokenizer.decode

        def stopped(_: int, ids: Sequence[int]) -> bool:
            text = decode(ids[-enough:])
            return any(stop in text for stop in stops)

        return stopped
