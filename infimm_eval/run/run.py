"""Run a plan: ask what is not answered yet, score a cell while the next is asked, keep everything.

Reads top to bottom in the order data flows.  Knows no benchmark and no model by name, and does
not print: it tells a ``ProgressListener``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infimm_eval import formats, icl, logs, models
from infimm_eval.errors import UsageError
from infimm_eval.formats import Form
from infimm_eval.run import cells, controlled, model_graded, thumbnails
from infimm_eval.run.plan import Plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.questions import CellQuestions
from infimm_eval.run.selectors import Selectors
from infimm_eval.run.stream import CellProgress, Stream
from infimm_eval.run.task_data import TaskData
from infimm_eval.types import CorpusFunction, Model, Rubric, Task

SHORT = 5_000
"""Questions of a run in which the seconds that a scorer's program takes to start are felt.  In a
longer one it would hold its memory for hours before it is needed."""


def run(
    plan: Plan,
    model: Model,
    folder: Path,
    listener: ProgressListener,
    opened: Mapping[str, TaskData] | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> list[logs.Cell]:
    """Run every cell of the plan and leave a finished log in ``folder``; continue one that is
    there.  Returns the cells of this plan, in its order.  ``opened``: benchmarks by name whose data
    somebody has open.  ``enough`` is asked after every answer: once it says so, no further question
    is put, and ``Interrupted`` is raised when what the model was reading is answered and kept.

    ``UsageError`` for what is wrong with tasks, data and templates comes before anything is asked.
    A cell that cannot be scored takes no other with it: its error is raised once all are done.
    """
    questions = _prepared(plan, model, listener, opened or {})
    with logs.Log(folder, writing=True) as log:
        asked = [CellProgress(q, cells.draft_name(q, model)) for q in questions]
        queue = _ScoringQueue(model, log, listener, _judge(plan, log))
        try:
            listener.started(total := sum(q.data.total for q in questions))
            if total <= SHORT:
                warm(plan.tasks)
            over = queue.hold if plan.check_batching else queue.score
            Stream(model, log, listener, over, enough).ask(asked)
            for cell in queue.held:
                cell.statistics = {**cell.statistics, **_check_batching(cell, model, log, listener)}
                queue.score(cell)
            queue.close(wait=True)
        except KeyboardInterrupt:
            queue.close(wait=False)
            raise
        except Exception:
            queue.close(wait=True)
            raise
        finally:
            listener.closed()
        made = queue.results(asked)
        if plan.controls:
            shown = log.shown()
            logs.write_results(folder, shown, icl.in_context(folder, shown, plan.tasks))
        return made


def surely_short(plan: Plan) -> bool:
    """Whether a run is short, as far as that is known before its data is opened."""
    limit = plan.limit if plan.limit is not None else SHORT + 1
    return plan.data == "demo" or limit * len(plan.cells()) <= SHORT


def warm(tasks: Sequence[Task]) -> None:
    """Starts the slow programs of the tasks' scorers, and waits for none."""
    for start in dict.fromkeys(function.warm for function in _over_corpora(tasks)):
        if start is not None:
            start()


def _require_scorers(tasks: Sequence[Task]) -> None:
    """``UsageError`` for a scorer that takes what is not installed."""
    for require in dict.fromkeys(function.require for function in _over_corpora(tasks)):
        if require is not None:
            require()


def _over_corpora(tasks: Sequence[Task]) -> Iterator[CorpusFunction]:
    functions = (task.scorers[0].function for task in tasks)
    return (function for function in functions if isinstance(function, CorpusFunction))


def _prepared(
    plan: Plan, model: Model, listener: ProgressListener, opened: Mapping[str, TaskData]
) -> list[CellQuestions]:
    """Every cell's questions, each plain cell's before those of its controls, all data opened and
    looked through: what is missing is said at once."""
    if getattr(model, "one_picture", False) and any(shots for _, shots, _ in plan.cells()):
        raise UsageError(
            f"{model.name} takes one picture a prompt, so that it cannot be shown shots; run it at "
            "--shots 0"
        )
    _require_scorers(plan.tasks)
    forms = {task.name: _form(task, plan, model, listener.note) for task in plan.tasks}
    data = {
        task.name: opened[task.name].under(plan) if task.name in opened else TaskData(task, plan)
        for task in plan.tasks
    }
    for rows in data.values():
        _want_a_judge(rows, plan)
    selectors = Selectors(plan, model, listener)
    plain = [
        CellQuestions(data[task.name], shots, seed, forms[task.name], selectors)
        for task, shots, seed in plan.cells()
    ]
    prepared = [asked for cell in plain for asked in (cell, *controlled.cells(cell))]
    for line in controlled.skipped(plain):
        listener.note(line)
    for questions in prepared:
        questions.check()
        if questions.ranks:
            models.require_rank(model)
    return prepared


def _form(task: Task, plan: Plan, model: Model, note: Callable[[str], None]) -> Form:
    """How a benchmark is asked: in the format that is named, else in the model's own where that has
    a template for it, in the style that is wanted."""
    if plan.prompt_format is not None:
        return formats.form(task, plan.prompt_format, model.style, wanted=plan.style)
    own = formats.find(str(getattr(model, "prompt_format", None) or formats.INFIMM.name))
    found = own.of(task)
    if own is not formats.INFIMM and (not found or plan.style not in (None, *found)):
        note(f"{task.title}: {own.name} has no such prompt; asked as InfiMM is")
        own = formats.INFIMM
    return formats.form(task, own, model.style, wanted=plan.style)


def _want_a_judge(rows: TaskData, plan: Plan) -> None:
    """Miss the judge now, not after every question."""
    first = next(rows.samples(), None)
    judged = isinstance(rows.task.scorers[0].function, Rubric)
    if judged and plan.judge is None and first is not None and first.references:
        model_graded.needed(None, rows.task.title)


def _judge(plan: Plan, log: logs.Log) -> model_graded.Judge | None:
    if plan.judge is None:
        return None
    return model_graded.Judge(plan.judge, log, plan.judge_runs)


@dataclass(slots=True)
class _ScoringQueue:
    """Scores cells, one at a time, in a thread beside the model."""

    model: Model
    log: logs.Log
    listener: ProgressListener
    judge: model_graded.Judge | None
    held: list[CellProgress] = field(default_factory=list)
    _futures: dict[int, Future[logs.Cell]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="score")
    )

    def hold(self, cell: CellProgress) -> None:
        """Something is still to be asked about this cell once the stream is over."""
        self.held.append(cell)

    def score(self, cell: CellProgress) -> None:
        """In its turn, while others are asked."""
        self._futures[id(cell)] = self._pool.submit(self._finish, cell)

    def _finish(self, cell: CellProgress) -> logs.Cell:
        try:
            finished = cells.finish(cell, self.model, self.log, self.listener, self.judge)
        except Exception as error:
            self.listener.note(f"{cell.questions.title} cannot be scored: {error}")
            raise
        logs.write_results(self.log.folder, self.log.shown())
        self.listener.finished(finished, cell.known)
        cells.keep_pictures(cell.questions, finished, self.log, self.listener.note)
        return finished

    def close(self, *, wait: bool) -> None:
        """Wait for what is being scored; or score nothing more, since somebody wants to go."""
        self._pool.shutdown(wait=wait, cancel_futures=not wait)

    def results(self, asked: Sequence[CellProgress]) -> list[logs.Cell]:
        """The finished cells; raises the first error of those that could not be scored."""
        return [self._futures[id(cell)].result() for cell in asked]


def _check_batching(
    cell: CellProgress, model: Model, log: logs.Log, listener: ProgressListener
) -> dict[str, Any]:
    """Ask some samples again, each alone: does anything change that the batch should not?"""
    questions = cell.questions
    together = {s.id: a.text for s, a in log.answered(cell.roster) if a is not None}
    chosen = thumbnails.showcase(together, questions.plan.check_batching)
    ask = models.require_rank(model).rank if questions.ranks else model.generate
    listener.stage("checking the batch")
    differ = []
    for question in questions:
        if question.sample.id in chosen:
            (alone,) = ask([question.request])
            if alone.text != together[question.sample.id]:
                differ.append(question.sample.id)
    found = f"{len(differ)} of {len(chosen)} answers differ when asked alone"
    some = f" ({differ[0]}, ...)" if differ else ""
    listener.note(f"{questions.task.title}: {found}{some}")
    return {"batching_checked": len(chosen), "batching_differs": len(differ)}
