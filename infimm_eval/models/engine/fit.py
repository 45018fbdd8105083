"""How many rows of ``--batch-size auto`` fit: an estimate from shapes, corrected by a measured
batch.

Knows what a job holds and a model's shapes; computes nothing with either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from infimm_eval.flamingo import Flamingo
from infimm_eval.models.engine.jobs import Job
from infimm_eval.models.engine.memory import Result, Room
from infimm_eval.models.engine.statistics import Statistics
from infimm_eval.models.engine.usage import free_bytes, peak

PROBE = 4
"""Rows of the batch that is measured: few enough to fit where the estimate is far too low."""


class Fit(Room[Job]):
    """As many rows as half of the free memory holds, long prompts fewer than short ones.

    The first batch has ``PROBE`` rows at most and is measured; what it took, divided by what was
    estimated for it, corrects every estimate after it.  On a processor the measure is of the whole
    process, and memory that it had and uses again does not show, so there a correction only ever
    makes an estimate larger.  When memory gives out all the same, the correction grows until half
    of what was tried is all that fits.
    """

    def __init__(
        self, model: Flamingo, statistics: Statistics, give_way: Callable[[], bool]
    ) -> None:
        super().__init__(PROBE, statistics, give_way)
        # Beyond so many, a step on a processor takes as much longer as it has more rows.
        self.most = 16 if model.device.type == "cpu" else 256
        self.model = model
        self.measured = False
        self._correction = 1.0

    def fits(self, items: Sequence[Job]) -> int:
        most = self.most if self.measured else PROBE
        each = self._correction * max(bytes_of(self.model, job) for job in items)
        self.size = max(1, min(most, int(self._budget / each)))
        return self.size

    def run(
        self, items: Sequence[Job], compute: Callable[[Sequence[Job]], list[Result]]
    ) -> Iterator[Result]:
        def measuring(jobs: Sequence[Job]) -> list[Result]:
            return compute(jobs) if self.measured else self._measure(jobs, compute)

        return super().run(items, measuring)

    @property
    def _budget(self) -> float:
        return free_bytes(self.model.device) / 2

    def _measure(
        self, jobs: Sequence[Job], compute: Callable[[Sequence[Job]], list[Result]]
    ) -> list[Result]:
        results, taken = peak(self.model.device, lambda: compute(jobs))
        self.measured = True
        if taken is not None:
            estimated = len(jobs) * max(bytes_of(self.model, job) for job in jobs)
            least = self._correction if self.model.device.type == "cpu" else 0.1
            self._correction = max(least, taken / estimated)
            self.statistics.count("probe_rows", len(jobs))
            self.statistics.count("probe_bytes", taken)
        return results

    def _take_at_most(self, count: int, items: Sequence[Job]) -> None:
        each = max(bytes_of(self.model, job) for job in items)
        self._correction = max(2 * self._correction, self._budget / (count * each))
        self.size = count


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
