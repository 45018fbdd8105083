"""Write a leaderboard's file from a run, or refuse: servers reject what is not complete.

Knows logs and formats; asks nothing and scores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from infimm_eval import data, formats, logs
from infimm_eval.data import checking
from infimm_eval.errors import UsageError
from infimm_eval.run.thinking import reader
from infimm_eval.types import Answer, Record, Sample, Task


def submit(
    task: Task,
    run: Path,
    output: Path | None = None,
    *,
    shots: int | None = None,
    seed: int | None = None,
    allow_partial: bool = False,
    place: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Path, int, int]:
    """Write the submission of one cell; returns its path, the answers in it, and how many of them
    are empty because nothing was answered.

    ``allow_partial`` fills the questions without an answer with "": those of the log, and with
    ``place`` (a data folder, ``demo`` or ``hub``) all others of the split.  ``note`` is told what
    had to be changed for the file to be one that can be opened.
    """
    if task.submission is None:
        raise UsageError(f"{task.name} has no submission format")
    if task.submission.refused:
        raise UsageError(f"{task.name}: {task.submission.refused}")
    with logs.Log(run) as log:
        cell = _choose(log.shown(), task, shots, seed, run)
        _whole(cell, allow_partial, run)
        records = list(_records(log, cell, task))
    empty = sum(record.answer.finish == "error" for record in records)
    if allow_partial and place is not None:
        known = {record.sample.id for record in records}
        rest = [sample for sample in _split(task, place) if sample.id not in known]
        records = list(chain(records, map(_empty, rest)))
        empty += len(rest)
    path = output or run / "submissions" / task.name.replace(":", "-") / task.submission.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    task.submission.write(records, path)
    for remark in task.submission.remarks(records):
        note(f"{path}: {remark}")
    return path, len(records), empty


def _choose(
    cells: list[logs.Cell], task: Task, shots: int | None, seed: int | None, run: Path
) -> logs.Cell:
    """The one cell that is meant."""
    of_task = [cell for cell in cells if cell.task == task.name and not cell.control]
    meant = [cell for cell in of_task if shots in (None, cell.shots) and seed in (None, cell.seed)]
    if len(meant) == 1:
        return meant[0]
    listed = ", ".join(f"--shots {c.shots} --seed {c.seed}" for c in of_task)
    if not of_task:
        tasks = ", ".join(sorted({cell.task for cell in cells})) or "nothing"
        raise UsageError(f"{run} has no finished {task.name}; it has {tasks}")
    raise UsageError(f"{run} has {len(of_task)} cells of {task.name}; choose one of: {listed}")


def _whole(cell: logs.Cell, allow_partial: bool, run: Path) -> None:
    if allow_partial:
        return
    if cell.limit is not None:
        raise UsageError(
            f"{run}: {cell.task} was run with --limit {cell.limit}; run all of it, or pass "
            "--allow-partial"
        )
    if cell.unanswered:
        raise UsageError(
            f"{run}: {cell.unanswered} questions of {cell.task} have no answer; run the same "
            "command again, or pass --allow-partial"
        )


def _records(log: logs.Log, cell: logs.Cell, task: Task) -> Iterator[Record]:
    protocol = cell.settings["protocol"]
    read = reader(formats.recorded(task, protocol).read, protocol.get("thinking", "removed"))
    for sample, answer in log.answered(log.roster(cell.key)):
        yield Record(sample, answer, read(answer.text)) if answer else _empty(sample)


def _empty(sample: Sample) -> Record:
    return Record(sample, Answer(sample.id, "", "error"), "")


def _split(task: Task, place: str) -> Iterator[Sample]:
    rows = data.open_source(task.source, place, title=task.title).rows()
    return checking.samples(task, rows, f"{task.title} in {place}")
