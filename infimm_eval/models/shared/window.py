"""The window of requests that wait for the model, and which of them make the next batch.

Batches are made by cost, long before short, and nobody waits for ever.  Knows what a job costs and
what it can share a batch with; computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from infimm_eval.models.shared.batch_limiter import BatchLimiter


class Waiting(Protocol):
    """A request as a backend works on it."""

    arrival: int
    """Its place in line, which the window gives it."""

    @property
    def cost(self) -> int:
        """What its row takes up, beside others."""
        ...

    @property
    def group(self) -> Hashable:
        """Jobs of the same can be in one batch."""
        ...


Job = TypeVar("Job", bound=Waiting)


class Window(Generic[Job]):
    """As many jobs as ``batches`` batches of the limiter's size hold, of at most ``rows`` rows.

    The next batch is of the group of the job that has waited longest: its costliest first, because
    one that does not fit shows early and rows of one batch end together.  A job that a whole window
    of later ones went before is overdue, and the next batch is around it: so it waits for about as
    many jobs as a window holds, whatever comes after it.
    """

    def __init__(
        self, limiter: BatchLimiter[Any], batches: int, *, rows: int | None = None
    ) -> None:
        self._limiter = limiter
        self._batches = batches
        self._rows = rows
        self._waiting: list[Job] = []  # in the order of arrival
        self._arrived = 0
        self._taken = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[Job]:
        """The jobs that wait, oldest first."""
        return iter(self._waiting)

    @property
    def capacity(self) -> int:
        """How many may wait."""
        rows = self._limiter.size
        return self._batches * (rows if self._rows is None else min(rows, self._rows))

    @property
    def oldest(self) -> Job:
        """The job that has waited longest."""
        return self._waiting[0]

    @property
    def overdue(self) -> bool:
        """Whether more jobs than a window holds went before the oldest out of their turn."""
        return bool(self._waiting) and self._taken - self.oldest.arrival >= self.capacity

    def add(self, job: Job) -> None:
        """At the end of the line."""
        job.arrival = self._arrived
        self._arrived += 1
        self._waiting.append(job)

    def restore(self, jobs: Sequence[Job]) -> None:
        """Jobs that were taken and are not done go back to their places in line."""
        self._taken -= len(jobs)
        self._waiting = sorted([*self._waiting, *jobs], key=lambda job: job.arrival)

    def batch(self) -> list[Job]:
        """Removes and returns the next batch, costliest job first, as many as fit."""
        group = self.oldest.group
        alike = [job for job in self._waiting if job.group == group]
        return self._take(alike, self._limiter.fits)

    def joining(self, free: int, joins: Callable[[Job], bool]) -> list[Job]:
        """Removes and returns at most ``free`` jobs for a batch that is running already, which
        those that ``joins`` is true of may join; none where the oldest is overdue and may not."""
        if self.overdue and not joins(self.oldest):
            return []
        return self._take([job for job in self._waiting if joins(job)], lambda _: free)

    def _take(self, some: list[Job], fits: Callable[[Sequence[Job]], int]) -> list[Job]:
        if not some:
            return []
        some.sort(key=lambda job: job.cost, reverse=True)
        start = some.index(self.oldest) if self.overdue else 0
        rows = fits(some[start : start + 1])
        start = max(0, min(start, len(some) - rows))
        batch = some[start : start + rows]
        taken = {job.arrival for job in batch}
        self._waiting = [job for job in self._waiting if job.arrival not in taken]
        self._taken += len(batch)
        return batch
