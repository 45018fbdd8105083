"""The size of a batch under ``--batch-size auto``: an estimate from shapes, corrected by a measured
batch.

Knows nothing of what the rows are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from infimm_eval.models.shared.batch_limiter import BatchLimiter, Item, Result
from infimm_eval.models.shared.memory import free_bytes, peak
from infimm_eval.models.shared.statistics import Statistics

PROBE = 4
"""Rows of the batch that is measured: few enough to fit where the estimate is far too low."""


def most(weights: int) -> int:
    """Rows beyond which a step on a processor takes as much longer as it has more of them.  Up to
    there its time is that of calling some hundred operations, which is a small model's only."""
    return max(16, min(64, 200_000_000 // max(1, weights)))


class AutoBatchSize(BatchLimiter[Item]):
    """As many rows as half of the free memory holds, long prompts fewer than short ones.

    ``estimate`` says roughly how many bytes a row takes.  The first batch has ``PROBE`` rows at
    most and is measured; what it took, divided by what was estimated for it, corrects every
    estimate after it.  On a processor the measure is of the whole process, and memory that it had
    and uses again does not show, so there a correction only ever makes an estimate larger.  When
    memory gives out all the same, the correction grows until half of what was tried is all that
    fits.
    """

    def __init__(
        self,
        estimate: Callable[[Item], int],
        device: torch.device,
        statistics: Statistics,
        give_way: Callable[[], bool],
        *,
        weights: int,
    ) -> None:
        """``weights``: how many numbers a row is multiplied with."""
        super().__init__(PROBE, statistics, give_way)
        self.most = most(weights) if device.type == "cpu" else 256
        self.device = device
        self._estimate = estimate
        self.measured = False
        self._correction = 1.0

    def fits(self, items: Sequence[Item]) -> int:
        """How many of the largest of them half of the free memory holds."""
        most = self.most if self.measured else PROBE
        each = self._correction * max(map(self._estimate, items))
        self.size = max(1, min(most, int(self._budget / each)))
        return self.size

    def run(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> Iterator[Result]:
        """As ``BatchLimiter.run``; the first batch is measured."""

        def measuring(some: Sequence[Item]) -> list[Result]:
            return compute(some) if self.measured else self._measure(some, compute)

        return super().run(items, measuring)

    @property
    def _budget(self) -> float:
        return free_bytes(self.device) / 2

    def _measure(
        self, items: Sequence[Item], compute: Callable[[Sequence[Item]], list[Result]]
    ) -> list[Result]:
        results, taken = peak(self.device, lambda: compute(items))
        self.measured = True
        if taken is not None:
            estimated = len(items) * max(map(self._estimate, items))
            least = self._correction if self.device.type == "cpu" else 0.1
            self._correction = max(least, taken / estimated)
            self.statistics.count("probe_rows", len(items))
            self.statistics.count("probe_bytes", taken)
        return results

    def _take_at_most(self, count: int, items: Sequence[Item]) -> None:
        each = max(map(self._estimate, items))
        self._correction = max(2 * self._correction, self._budget / (count * each))
        self.size = count
