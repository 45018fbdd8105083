"""The rows of one benchmark as samples, opened once for all its cells.

Finds before anything is asked what is wrong with any row; knows neither prompts nor models.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from infimm_eval import data, prompts, scorers
from infimm_eval.data import checking
from infimm_eval.logs import fingerprint
from infimm_eval.run import thumbnails
from infimm_eval.run.plan import Plan
from infimm_eval.shots import pool
from infimm_eval.types import Image, Sample, Scorer, Source, Task

if TYPE_CHECKING:
    from infimm_eval.shots.split import Split


THUMBNAILS = 2048
"""So many are remembered, some 8 MB."""


class TaskData:
    """Samples of a benchmark's split, and the pool that its shots are drawn from."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task, self.plan = task, plan
        self._pools: dict[int, list[Sample]] = {}
        self._learned: dict[str, Any] = {}
        self._totals: dict[tuple[int | None, frozenset[str] | None], int] = {}
        self._thumbnails: dict[str, tuple[bytes, int]] = {}

    def under(self, plan: Plan) -> TaskData:
        """The same rows and pools, opened, drawn and looked through once, for another plan over the
        same data."""
        other = copy(self)
        other.plan = plan
        return other

    @cached_property
    def rows(self) -> data.Dataset:
        """The split; of a benchmark that only lends its shots it is never opened."""
        return self._open(self.task.source)

    def samples(self) -> Iterator[Sample]:
        """Every sample of the split, in the published order."""
        return checking.samples(self.task, self.rows.rows(), self._where)

    @property
    def total(self) -> int:
        """How many samples will be asked.  Makes each of them once, so that ``UsageError`` names
        before anything is asked the row that lacks something, and pictures that are missing."""
        chosen = self.plan.limit, self.plan.only.get(self.task.name)
        if chosen not in self._totals:
            self._totals[chosen] = self._counted()
        return self._totals[chosen]

    def _counted(self) -> int:
        count = 0
        some: list[Sample] = []

        def made() -> Iterator[Sample]:
            nonlocal count
            for sample in self.queries():
                count += 1
                if count <= checking.TRIED:
                    some.append(sample)
                yield sample

        data.require_pictures(prompts.pictures(made()), self.task.title)
        checking.check_headline(self.task, some, f"the task {self.task.name}")
        return count

    @property
    def _where(self) -> str:
        """What messages call the rows."""
        return f"{self.task.title} in {self.plan.data}"

    @property
    def size(self) -> int | None:
        """How many samples the published split has; ``None``: nobody says, or the data is the
        demo's."""
        return None if self.plan.data == "demo" else self.task.source.size

    def pool(self, seed: int, *, with_pictures: bool) -> list[Sample]:
        """The examples that shots are drawn from."""
        if self.task.shots is None:
            return []
        if seed not in self._pools:
            rows = self.examples.rows()
            samples = checking.samples(self.task, rows, f"{self._where}, examples")
            # A benchmark's own rule looks for its examples among all, in the order of the data.
            whole = self.task.support is not None
            self._pools[seed] = list(samples) if whole else pool(samples, self.task.name, seed)
        if with_pictures:
            shown = prompts.pictures(self._pools[seed])
            data.require_pictures(shown, f"{self.task.title} examples")
        return self._pools[seed]

    def learned(self, scorer: Scorer) -> Any:
        """What a scorer learns of the whole split (``scorers.learn``), once for all cells."""
        if scorer.name not in self._learned:
            self._learned[scorer.name] = scorers.learn(scorer, self.samples())
        return self._learned[scorer.name]

    def thumbnail(self, image: Image) -> tuple[bytes, int]:
        """See ``thumbnails.webp``; made once, however many cells and runs show the picture."""
        made = self._thumbnails.get(image.key) or thumbnails.webp(image)
        if len(self._thumbnails) < THUMBNAILS:
            self._thumbnails[image.key] = made
        return made

    def queries(self) -> Iterator[Sample]:
        """The samples that are asked."""
        asked = islice(self.samples(), self.plan.limit)
        only = self.plan.only.get(self.task.name)
        return asked if only is None else (sample for sample in asked if sample.id in only)

    @property
    def limit(self) -> int | None:
        """How many samples are asked at most; ``None``: all."""
        only = self.plan.only.get(self.task.name)
        return self.plan.limit if only is None else len(only)

    @property
    def drawn(self) -> dict[str, str]:
        """``{"drawn": fingerprint}`` of the ids where they are not the first ones."""
        only = self.plan.only.get(self.task.name)
        return {} if only is None else {"drawn": fingerprint(sorted(only))}

    @cached_property
    def examples(self) -> data.Dataset:
        """The rows of the training split; of a benchmark that has one."""
        assert self.task.shots is not None
        return self._open(self.task.shots)

    @cached_property
    def split(self) -> Split:
        """Every sample of the training split, for selection that searches all of it."""
        from infimm_eval.shots.split import Split

        where = f"{self._where}, examples"
        split = Split(checking.samples(self.task, self.examples.rows(), where))
        data.require_pictures(chain(*split.pictures), f"{self.task.title} examples")
        return split

    def _open(self, source: Source) -> data.Dataset:
        return data.open_source(source, self.plan.data, self.plan.revision, self.task.title)
