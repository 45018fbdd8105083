"""What ``evaluate`` returns: cells, tables, samples, a report.

Reads the run's log; runs nothing.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from infimm_eval import icl, logs
from infimm_eval.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from infimm_eval.types import Task


@dataclass(frozen=True, slots=True)
class Figure:
    """The headline of one task at one number of shots: a cell's, or the mean over its seeds."""

    value: float | None
    """In published units; ``None`` where nothing could be scored."""
    ci95: tuple[float, float] | None
    """Over several seeds the mean of their bounds, since they share the samples."""
    n: int
    seeds: int = 1


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Results:
    """The cells of one call of ``evaluate``, and the log behind them."""

    cells: list[logs.Cell]
    folder: Path
    """The run's folder; a temporary one goes with this object."""

    def __getitem__(self, spot: tuple[str, int]) -> Figure:
        """``results["vqav2", 4]``: the plain cell, or the mean over seeds where there are several.

        ``KeyError`` where the task was not run at so many shots.
        """
        if not isinstance(spot, tuple) or len(spot) != 2:
            raise KeyError(f"name a task and a number of shots, such as ['vqav2', 4]; not {spot!r}")
        cells = list(self._plain(*spot))
        if not cells:
            have = ", ".join(f"{c.task!r}, {c.shots}" for c in self.cells if not c.control)
            raise KeyError(f"no cell {spot!r}; there is {have}")
        values = [cell.value for cell in cells if cell.value is not None]
        bounds = [cell.ci95 for cell in cells if cell.ci95 is not None]
        return Figure(
            value=fmean(values) if len(values) == len(cells) else None,
            ci95=(fmean(b[0] for b in bounds), fmean(b[1] for b in bounds)) if bounds else None,
            n=min(cell.n for cell in cells),
            seeds=len(cells),
        )

    def table(self) -> pd.DataFrame:
        """One row a cell, in the columns of ``results.json``; bounds of the interval apart."""
        import pandas as pd

        return pd.DataFrame([_row(cell) for cell in self.cells])

    def samples(self, task: str, shots: int | None = None, seed: int | None = None) -> pd.DataFrame:
        """One row a sample of a task's plain cells: id, prompt, shot_ids, answer, read_as, score,
        parts and more.  ``UsageError`` where there is no such cell."""
        import pandas as pd

        chosen = [cell for cell in self._plain(task, shots) if seed is None or cell.seed == seed]
        if not chosen:
            raise UsageError(f"these results have no cell of {task} at {shots} shots")
        with logs.Log(self.folder) as log:
            lines = [logs.sample_line(c, entry) for c in chosen for entry in log.entries(c.key)]
        return pd.DataFrame(lines)

    def diagnosis(
        self,
        task: str,
        shots: int | None = None,
        *,
        tasks: Sequence[Task] = (),
        language_model: str | Path | None = None,
    ) -> icl.Diagnosis:
        """What the shots of a task taught, from its controls (``controls="all"``); without
        ``shots``, at the most that have controls.  ``tasks``: plugins of one's own;
        ``language_model``: a run of the bare one, for the leakage.

        ``UsageError`` where no control was run.
        """
        bare = None if language_model is None else Path(language_model)
        found, _ = icl.read({self.folder: self.cells}, tasks, language_model=bare)
        chosen = [d for d in found if d.task == task and shots in (None, d.shots)]
        if not chosen:
            raise UsageError(
                f"these results have no control of {task}"
                + (f" at {shots} shots" if shots is not None else "")
                + '; ask for some, such as controls="all"'
            )
        return max(chosen, key=lambda diagnosis: diagnosis.shots)

    def curve(self, task: str, *, tasks: Sequence[Task] = ()) -> icl.Curve:
        """A task over its numbers of shots.  ``UsageError`` where there is only one."""
        _, found = icl.read({self.folder: self.cells}, tasks)
        for curve in found:
            if curve.task == task:
                return curve
        raise UsageError(f"these results have no two numbers of shots of {task}")

    def save_report(self, folder: str | Path) -> list[Path]:
        """Write ``report.md`` and ``report.html`` into a folder; returns the files."""
        from infimm_eval import report

        return report.write([self.folder], Path(folder))

    def _plain(self, task: str, shots: int | None) -> Iterator[logs.Cell]:
        for cell in self.cells:
            if cell.task == task and shots in (None, cell.shots) and not cell.control:
                yield cell

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in _brief(cell)) + "</tr>"
            for cell in self.cells
        )
        head = "".join(
            f"<th>{name}</th>" for name in ("task", "shots", "metric", "value", "95 %", "n")
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _row(cell: logs.Cell) -> dict[str, Any]:
    low, high = cell.ci95 or (None, None)
    flat = {k: v for k, v in logs.cell_row(cell).items() if not isinstance(v, dict | list)}
    return {"model": cell.model, **flat, "ci95_low": low, "ci95_high": high}


def _brief(cell: logs.Cell) -> tuple[str, ...]:
    value = "" if cell.value is None else f"{cell.value:.1f}"
    bounds = f"{cell.ci95[0]:.1f} to {cell.ci95[1]:.1f}" if cell.ci95 else ""
    title = ", ".join(filter(None, (cell.title, cell.control)))
    return (title, str(cell.shots), cell.headline, value, bounds, f"{cell.n:,}")
