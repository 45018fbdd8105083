"""What to run: the choices behind a run, and the cells they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from infimm_eval import log
from infimm_eval.shots import Support
from infimm_eval.types import Model, Style, Task

Choice = Literal["generate", "rank"]

ZERO_SHOT_DEMOS: Mapping[Style, int] = {"completion": 2, "instruct": 0}
"""Flamingo's zero-shot prompt shows two examples without their pictures; chat models get none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run.  Everything here that can move a number ends up in the cell's settings."""

    tasks: Sequence[Task]
    shots: Sequence[int] = (0,)
    seeds: Sequence[int] = (0,)
    data: str = "demo"
    """``demo``, ``hub`` or a folder."""
    revision: str | None = None
    limit: int | None = None
    support: Support = "random"
    zero_shot_demos: int | None = None
    """``None``: two for ``completion``, none for ``instruct``."""
    style: Style | None = None
    """``None``: the model's own."""
    choice: Choice = "generate"
    judge: Model | None = None
    judge_runs: int = 1
    ocr: bool = False
    """Put OCR tokens into the questions of benchmarks that bring them."""
    wordings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``{task: {"ask": template, "answer": ..., "system": ...}}`` in place of the plugin's."""
    check_batching: int = 0
    """Ask so many samples again, each alone, and report answers that the batch has changed."""
    samples_shown: int = 200
    """Samples of a cell whose pictures are kept as thumbnails for the report."""

    def wording_of(self, task: Task) -> Mapping[str, str]:
        """What stands in place of the plugin's wording; a split's is its benchmark's."""
        benchmark = task.name.partition(":")[0]
        return self.wordings.get(task.name, self.wordings.get(benchmark, {}))

    def places(self) -> list[tuple[Task, log.Place]]:
        """The cells in order.  Zero-shot benchmarks have one each, at 0 shots and one seed."""
        return [
            (task, log.Place(task.name, count, seed))
            for task in self.tasks
            for count in (dict.fromkeys(self.shots) if task.shots else [0])
            for seed in (dict.fromkeys(self.seeds) if task.shots else self.seeds[:1])
        ]
