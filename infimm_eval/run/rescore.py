"""Score a finished run again from its log: no model, no pictures, no data.

Every scored cell is another cell of the same folder; the ones before stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infimm_eval import formats, icl, logs, registry
from infimm_eval.errors import UsageError, unknown
from infimm_eval.run import cells, model_graded
from infimm_eval.run.evaluate import load_judge
from infimm_eval.run.scoring import Scoreboard, facts
from infimm_eval.run.thinking import reader
from infimm_eval.types import CorpusFunction, Model, Rubric, Scorer, Task


def rescore(
    folder: str | Path,
    *,
    scorer: Mapping[str, str] | None = None,
    tasks: Sequence[str | Task] = (),
    judge: str | Model | None = None,
    judge_runs: int = 1,
    note: Callable[[str], None] = lambda text: None,
) -> list[logs.Cell]:
    """Score the cells that tables show of a run, with today's scorers; returns the new ones.

    ``scorer``: another scorer for a task's headline, ``{"textvqa": "official"}``.  ``tasks``:
    plugins of one's own whose cells are there, by path or value.  Judged scores are read again
    from the verdicts in the log; ``judge`` is asked instead where one is given.

    ``UsageError`` where a task or scorer is not known, and where verdicts are lacking.
    """
    chosen = dict(scorer or {})
    asked = load_judge({"judge": judge})
    shown = logs.read(Path(folder))
    if not shown:
        raise UsageError(f"{folder} has no finished cell; run it to the end first")
    with logs.Log(Path(folder), writing=True) as log:
        known = _tasks(shown, registry.select(tasks), chosen)
        made = []
        for cell in shown:
            grader = _judge(cell, log, asked, judge_runs)
            made.append(_CellRescore(cell, known[cell.task], log, grader, note).score())
        again = log.shown()
        controlled = any(cell.control for cell in again)
        taught = icl.in_context(log.folder, again, known.values()) if controlled else None
        logs.write_results(log.folder, again, taught)
    return made


def _tasks(
    shown: Sequence[logs.Cell], given: Sequence[Task], chosen: Mapping[str, str]
) -> dict[str, Task]:
    names = list(dict.fromkeys(cell.task for cell in shown))
    for name in chosen:
        if name not in names:
            raise unknown("task in --scorer", name, names)
    own = {task.name: task for task in given}
    tasks = {name: own.get(name) or _load(name) for name in names}
    return {
        name: registry.scored_by(task, chosen[name]) if name in chosen else task
        for name, task in tasks.items()
    }


def _load(name: str) -> Task:
    try:
        return registry.load(name)
    except UsageError as error:
        raise UsageError(f"{error}; a task of one's own is named by --tasks FILE") from error


def _judge(
    cell: logs.Cell, log: logs.Log, judge: Model | None, runs: int
) -> model_graded.Judge | None:
    """The one that is given, else the one whose verdicts the log has."""
    if judge is not None:
        return model_graded.Judge(judge, log, runs)
    protocol = cell.settings.get("protocol", {})
    if "judge" not in protocol:
        return None
    before = model_graded.AskedBefore(protocol["judge"], cell.title)
    return model_graded.Judge(before, log, protocol.get("judge_runs", 1))


@dataclass(frozen=True, slots=True)
class _CellRescore:
    """One cell under the scorers of today."""

    cell: logs.Cell
    task: Task
    log: logs.Log
    judge: model_graded.Judge | None
    note: Callable[[str], None]

    def score(self) -> logs.Cell:
        """The new cell, as it stands in the log."""
        cell, roster = self.cell, self.log.roster(self.cell.key)
        old = cell.settings["protocol"]
        told = old.get("thinking", "removed")
        scored = Scoreboard(
            task=self.task,
            pairs=lambda: self.log.answered(roster),
            read=reader(formats.recorded(self.task, old).read, told),
            learned=self._learned,
            note=self.note,
            judge=self.judge,
        ).score()
        kept = {k: v for k, v in old.items() if k not in ("scorer", "judge", "judge_runs")}
        protocol = {**kept, "thinking": told, **facts(self.task, self.judge)}
        made = replace(
            cell,
            settings={**cell.settings, "protocol": protocol},
            others=0,
            **cells.figures(self.task, scored, limit=cell.limit, n_of=cell.n_of),
        )
        self.log.finish(roster, made, scored.texts, scored.outcomes.scores, scored.summary.units)
        return made

    def _learned(self, scorer: Scorer) -> Any:
        function = scorer.function
        if isinstance(function, Rubric) or not isinstance(function, CorpusFunction):
            return None
        if function.learn is None:
            return None
        if scorer.name not in self.cell.learned:
            raise UsageError(
                f"{self.task.title}: the log does not hold what {scorer.name!r} has to know of the "
                "whole split; start the run's command again, which asks nothing anew"
            )
        return self.log.learned(self.cell.learned[scorer.name])
