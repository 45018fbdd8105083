"""One checkpoint of a series measured: a cheap part first, then the rest, or as much as decides.

Asks through ``run``, so that every answer is durable and none is asked for twice; knows nothing of
folders in which checkpoints appear, and of where a model came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from infimm_eval import logs
from infimm_eval.run import ProgressListener, run
from infimm_eval.run.plan import Plan
from infimm_eval.run.task_data import TaskData
from infimm_eval.series.drawing import Drawing, kinds_of
from infimm_eval.series.folder import Point, SeriesFolder
from infimm_eval.series.verdicts import Jury, Spot, Tables
from infimm_eval.types import Model

Only = Mapping[str, frozenset[str]]


def spots_of(plan: Plan) -> list[Spot]:
    """What has a curve: every benchmark at every number of shots."""
    return list(dict.fromkeys((task.name, shots) for task, shots, _ in plan.cells()))


@dataclass(frozen=True)
class Measuring:
    """What is done with each checkpoint of a series."""

    plan: Plan
    series: SeriesFolder
    listener: ProgressListener
    first: int | None = None
    """How many samples of each benchmark the cheap part has; ``None``: there is none."""

    def open(self) -> None:
        """Open the data, draw samples and shots: a checkpoint is to wait for nothing but itself."""
        for rows in self._data.values():
            for seed in self.plan.seeds if rows.task.shots is not None else ():
                rows.pool(seed, with_pictures=any(self.plan.shots))
        if self.first is not None or self.series.agreed.looks:
            _ = self._drawings

    @cached_property
    def tables(self) -> Tables:
        """What was measured, for comparison."""
        return Tables(self.series)

    @cached_property
    def jury(self) -> Jury | None:
        """Who judges; ``None`` where there is nothing to compare with."""
        return Jury(self.tables, spots_of(self.plan)) if self.series.agreed.judged else None

    def next_part(
        self, point: Point, model: Model, enough: Callable[[], bool] = lambda: False
    ) -> None:
        """Measure the next part of a checkpoint and write down what came of it.  Once it is
        ``enough`` the rest of a checkpoint breaks off, by ``Interrupted``: it is asked later."""
        point.fingerprint = str(model.settings.get("fingerprint", ""))
        if self.series.agreed.looks:
            self._until_decided(point, model)
        elif self.first is not None and point.state == "begun":
            self._ask(
                point, model, {name: d.first(self.first) for name, d in self._drawings.items()}
            )
            point.state = "first"
        else:
            self._ask(point, model, {}, enough=enough if point.state == "first" else None)
            point.state = "whole"
            if self.jury is not None:
                point.verdicts = self.jury.whole(point)
        self.series.save()

    def _until_decided(self, point: Point, model: Model) -> None:
        assert self.jury is not None
        said: dict[Spot, dict[str, Any]] = {(v["task"], v["shots"]): v for v in point.verdicts}
        for look, share in list(enumerate(self.series.agreed.looks))[point.look :]:
            open_spots = [spot for spot in self.jury.spots if not _decided(said.get(spot))]
            if not open_spots:
                break
            self._ask(point, model, {name: d.share(share) for name, d in self._drawings.items()},
                      open_spots)  # fmt: skip
            for verdict in self.jury.early(point, look, open_spots):
                said[verdict["task"], verdict["shots"]] = verdict
            point.verdicts, point.look = list(said.values()), look + 1
            self.series.save()  # a look is taken once: its threshold is spent
        self.jury.close(point)
        point.state = "decided"

    def _ask(
        self,
        point: Point,
        model: Model,
        samples: Mapping[str, frozenset[str] | None],
        spots: Sequence[Spot] | None = None,
        enough: Callable[[], bool] | None = None,
    ) -> None:
        """Ask these samples of every benchmark (``None``: all), at all ``spots`` or some."""
        only = {task: ids for task, ids in samples.items() if ids is not None}
        folder = self.series.run_folder(point)
        for plan in _plans(replace(self.plan, only=only), spots):
            run(plan, model, folder, self.listener, self._data, enough or (lambda: False))
        point.cells = [_row(cell) for cell in logs.read(folder)]

    @cached_property
    def _data(self) -> dict[str, TaskData]:
        """Opened once a series, so that shots are drawn from pools that were read once."""
        data = {task.name: TaskData(task, self.plan) for task in self.plan.tasks}
        for rows in data.values():
            _ = rows.rows
            if rows.task.shots is not None:
                _ = rows.examples
        return data

    @cached_property
    def _drawings(self) -> dict[str, Drawing]:
        """By task; the order is drawn once for all checkpoints."""
        base = self.tables.base if self.series.agreed.baseline else {}
        kinds = {spot[0]: kinds_of(known.units) for spot, known in base.items()}
        seed = self.series.agreed.draw
        return {n: Drawing(rows, seed, kinds.get(n, {})) for n, rows in self._data.items()}


def _plans(plan: Plan, spots: Sequence[Spot] | None) -> Iterable[Plan]:
    """One plan for all of it; or, of some spots, one for each number of shots."""
    if spots is None:
        return [plan]
    by_shots = {shots: {task for task, at in spots if at == shots} for _, shots in spots}
    return [
        replace(plan, shots=(shots,), tasks=[task for task in plan.tasks if task.name in names])
        for shots, names in by_shots.items()
    ]


def _decided(verdict: Mapping[str, Any] | None) -> bool:
    return verdict is not None and verdict["verdict"] != "undecided"


_KEPT = (
    *("task", "shots", "seed", "control", "support", "headline", "value", "ci95", "n", "n_of"),
    *("unscored", "complete", "limit", "seconds"),
)


def _row(cell: logs.Cell) -> dict[str, Any]:
    """A cell as ``results.json`` has it, in brief."""
    row = logs.cell_row(cell)
    return {"title": cell.title, **{name: row[name] for name in _KEPT if name in row}}
