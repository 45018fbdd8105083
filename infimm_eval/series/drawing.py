"""Which samples are asked first: an order drawn once for a series, the same for every checkpoint.

Knows ids and pictures; refuses to know what a sample asks and how it was answered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from infimm_eval.run.plan import Plan
from infimm_eval.run.task_data import TaskData
from infimm_eval.series.looks import asking_order, nested
from infimm_eval.types import Task, Unit


@dataclass(frozen=True)
class Drawing:
    """The order of one benchmark's samples; what is drawn first is part of all that follows."""

    task: Task
    plan: Plan
    seed: int
    kinds: Mapping[str, str]
    """The sub-tasks of pictures, where a baseline tells them: those are then asked in turn."""

    def first(self, count: int) -> frozenset[str] | None:
        """``count`` samples, and those that share their pictures; ``None``: that is all."""
        ids, groups = self._samples
        if count >= len(ids):
            return None
        begun = {groups[at] for at in self._order[:count]}
        return frozenset(id for id, group in zip(ids, groups, strict=True) if group in begun)

    def share(self, share: float) -> frozenset[str] | None:
        """The samples of such a share of the pictures; ``None``: that is all."""
        ids, groups = self._samples
        chosen = nested(self._order, groups, share)
        return None if len(chosen) == len(ids) else frozenset(ids[at] for at in chosen)

    @cached_property
    def _samples(self) -> tuple[list[str], list[str]]:
        pairs = [(s.id, s.group or s.id) for s in TaskData(self.task, self.plan).queries()]
        return [id for id, _ in pairs], [group for _, group in pairs]

    @cached_property
    def _order(self) -> list[int]:
        _, groups = self._samples
        return asking_order(groups, [self.kinds.get(group, "") for group in groups], self.seed)


def kinds_of(units: Sequence[Unit]) -> dict[str, str]:
    """The strata that each picture's units lie in, as one name."""
    found: dict[str, set[str]] = defaultdict(set)
    for unit in units:
        found[unit.cluster or unit.id].add(unit.stratum)
    return {picture: "\0".join(sorted(strata)) for picture, strata in found.items()}
