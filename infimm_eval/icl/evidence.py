"""The finished cells of one spot, plain and controlled, sample by sample.

Reads logs; knows no contrast and draws no conclusion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from sys import intern

from infimm_eval import registry, scorers
from infimm_eval.errors import UsageError
from infimm_eval.logs import Cell, Entry, Log
from infimm_eval.types import Record, Sample, Scorer, Task, Unit


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer of a cell."""

    group: str
    """What samples are dependent by."""
    read: str | None
    """As the scorer reads it; ``None``: there is no answer."""
    value: float | None
    shots: tuple[str, ...]
    """Ids of the shots that fit into the prompt, in its order."""


@dataclass(frozen=True)
class Evidence:
    """One cell with its units and answers."""

    cell: Cell
    log: Log
    scorer: Scorer | None
    """``None``: the benchmark is not known here."""

    @cached_property
    def units(self) -> list[Unit]:
        """What the headline is made of."""
        return self.log.units(self.cell.key)

    @cached_property
    def seen(self) -> Mapping[str, Seen]:
        """By sample."""
        read, found = scorers.reads(self.scorer), {}
        for entry in self.entries():
            sample, answer, said = entry.sample, entry.answer, entry.said
            heard = None
            if answer is not None and said is not None:
                heard = intern(read(Record(sample, answer, said)))
            found[sample.id] = Seen(
                group=sample.group or sample.id,
                read=heard,
                value=entry.score.value if entry.score else None,
                shots=tuple(map(intern, fitting(entry))),
            )
        return found

    def entries(self) -> Iterator[Entry]:
        """From the log, without prompts."""
        return self.log.entries(self.cell.key, prompts=False)

    def forget(self) -> None:
        """Give back what was read: a few cells of a large split fill the memory."""
        for name in ("seen", "units"):
            self.__dict__.pop(name, None)

    @cached_property
    def targets(self) -> Mapping[str, Sample]:
        """The shots with their answers, by id; empty in logs of earlier versions."""
        return self.log.shots(self.cell.key)


@dataclass(frozen=True)
class Spot:
    """A benchmark at one number of shots under one selection: its cells, by control and seed."""

    task: Task | None
    """``None``: not known here, as a plugin of one's own that is not named."""
    plain: Mapping[int, Evidence]
    """By seed."""
    controls: Mapping[str, Mapping[int, Evidence]]
    bare: Mapping[int, Evidence]
    """The same benchmark at 0 shots."""

    @property
    def first(self) -> Cell:
        """Stands for all of them: title, shots, scale."""
        return next(iter(self.plain.values())).cell

    @cached_property
    def wordless(self) -> bool:
        """Whether nothing is asked beside the pictures (captions)."""
        entry = next(next(iter(self.plain.values())).entries(), None)
        return entry is not None and not entry.sample.question and not entry.sample.options


def fitting(entry: Entry) -> tuple[str, ...]:
    """The shots of a prompt that were not lost to the model's context."""
    lost = entry.answer.notes.get("dropped_shots") or 0 if entry.answer else 0
    return entry.shot_ids[lost:]


def spots(cells: Sequence[Cell], logs: Mapping[str, Log], tasks: Iterable[Task] = ()) -> list[Spot]:
    """Every spot of one model with a control or with cells at several numbers of shots.

    ``logs``: the open log of each cell, by the name of its key.  ``tasks``: those that are not
    built in.
    """
    known = {task.name: task for task in tasks}
    found: dict[tuple[str, int, str], dict[str, dict[int, Evidence]]] = {}
    task_of = {name: known.get(name) or _task(name) for name in {cell.task for cell in cells}}
    for cell in cells:
        made = Evidence(cell, logs[cell.key.name], _scorer(cell, task_of[cell.task]))
        where = found.setdefault((cell.task, cell.shots, cell.support or ""), {})
        where.setdefault(cell.control or "", {})[cell.seed] = made
    return [
        Spot(
            task=task_of[task],
            plain=by_control[""],
            controls={name: ev for name, ev in by_control.items() if name},
            bare=found.get((task, 0, ""), {}).get("", {}) if shots else {},
        )
        for (task, shots, _), by_control in found.items()
        if "" in by_control
    ]


def _task(name: str) -> Task | None:
    try:
        return registry.load(name)
    except UsageError:
        return None


def _scorer(cell: Cell, task: Task | None) -> Scorer | None:
    recorded = cell.settings.get("protocol", {}).get("scorer") or {}
    name = recorded.get("name") if isinstance(recorded, Mapping) else recorded
    return next((s for s in task.scorers if s.name == name), None) if task else None
