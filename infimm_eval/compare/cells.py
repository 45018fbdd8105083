"""The cell that a comparison looks at: a figure, what it was measured under, the units behind it.

Refuses to know answers, pictures and rulers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infimm_eval import log
from infimm_eval.types import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One task at one shot count and seed, as little of it as a comparison needs."""

    task: str
    title: str
    shots: int
    seed: int
    model: str
    headline: str
    """The metric's name."""
    value: float | None
    """In the units of the published tables; ``None`` where nothing could be scored."""
    scale: float
    n: int
    """Samples asked."""
    unscored: int
    complete: bool
    limit: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything under ``protocol`` must agree for two cells to be comparable."""
    units: Sequence[Unit] = ()

    @property
    def finished(self) -> bool:
        """Every sample that was wanted is scored; under ``--limit`` fewer were wanted."""
        return self.complete or (self.limit is not None and not self.unscored)


def of_run(cell: log.Cell, units: Sequence[Unit]) -> Cell:
    return Cell(
        task=cell.task,
        title=cell.title,
        shots=cell.shots,
        seed=cell.seed,
        model=cell.model,
        headline=cell.headline,
        value=cell.value,
        scale=cell.scale,
        n=cell.n,
        unscored=cell.unscored,
        complete=cell.complete,
        limit=cell.limit,
        settings=cell.settings,
        units=units,
    )
