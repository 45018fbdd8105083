"""How many rows fit into free memory: an estimate from shapes, corrected by a measured batch.

Knows what a job holds and a model's shapes; computes nothing with either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from infimm_eval.flamingo import Flamingo
from infimm_eval.models.engine.jobs import Job
from infimm_eval.models.engine.memory import free_bytes, peak
from infimm_eval.models.engine.statistics import Statistics

Result = TypeVar("Result")

PROBE = 4
"""Rows of the batch that is measured: few enough to fit where the estimate is far too low."""


def most_rows(model: Flamingo) -> int:
    """Beyond so many, a step on a processor takes as much longer as it has more rows."""
    return 16 if model.device.type == "cpu" else 64


class Fit:
    """Rows for ``--batch-size auto``: as many as half of the free memory holds.

    Batches have ``PROBE`` rows until one was ``measured``; what that one took, divided by what was
    estimated for it, corrects every estimate after it.  On a processor, where freed memory is
    used again unseen, a correction never makes an estimate smaller.
    """

    def __init__(self, model: Flamingo, statistics: Statistics) -> None:
        self.model = model
        self.statistics = statistics
        self.measured = False
        self._correction = 1.0

    def rows(self, job: Job) -> int:
        """How many rows as large as this one; at least one."""
        most = most_rows(self.model) if self.measured else PROBE
        each = self._correction * bytes_of(self.model, job)
        return max(1, min(most, int(free_bytes(self.model.device) / 2 / each)))

    def measuring(
        self, work: Callable[[Sequence[Job]], list[Result]]
    ) -> Callable[[Sequence[Job]], list[Result]]:
        """``work``, measured."""

        def probe(jobs: Sequence[Job]) -> list[Result]:
            done, taken = peak(self.model.device, lambda: work(jobs))
            self.measured = True
            if taken is not None:
                estimated = len(jobs) * max(bytes_of(self.model, job) for job in jobs)
                least = 1.0 if self.model.device.type == "cpu" else 0.0
                self._correction = max(least, taken / estimated)
                self.statistics.count("probe_rows", len(jobs))
                self.statistics.count("probe_bytes", taken)
            return done

        return probe


def bytes_of(model: Flamingo, job: Job) -> int:
    """An estimate for one row: cache, activations of one layer, pictures, final scores."""
    c = model.config
    language = c.language
    size = model.dtype.itemsize
    prompt, beams = len(job.ids), job.request.decoding.num_beams
    options = sum(map(len, job.options))
    places = prompt + (options or job.request.decoding.max_new_tokens * beams)
    kept = 2 * language.num_hidden_layers * language.kv_heads * language.head_width * places
    passing = (prompt + options) * (4 * language.hidden_size + 3 * language.intermediate_size)
    inner = c.gated.heads * c.gated.dim_head
    latents = len(job.latents) * c.resampler.latents * (c.visual.width + 2 * inner)
    seen = 2 * len(c.gated_layers) * c.resampler.latents * inner
    scores = 3 * 4 * language.vocab_size * max(beams, options)
    return (kept + passing + latents + seen) * size + scores
