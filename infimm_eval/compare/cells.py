"""The cell that a comparison looks at: a figure, what it was measured under, the units behind it.

Refuses to know answers, pictures and scorers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infimm_eval import logs
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
    missing: int = 0
    """Samples that were asked and keep the cell from being whole."""
    limit: int | None = None
    control: str | None = None
    support: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything under ``protocol`` must agree for two cells to be comparable."""
    units: Sequence[Unit] = ()

    @property
    def finished(self) -> bool:
        """Everything that was asked is answered and scored, however little that was."""
        return self.n > 0 and not self.missing


def of_run(cell: logs.Cell, units: Sequence[Unit]) -> Cell:
    """A finished cell of a log, with the units behind it."""
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
        missing=cell.missing,
        limit=cell.limit,
        control=cell.control,
        support=cell.support,
        settings=cell.settings,
        units=units,
    )
