"""One stream of requests over all cells of a run, and the answers on their way into the log.

The model never waits between cells: while the last answers of one come in, it is already given the
questions of the next.  Knows neither benchmarks nor scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from threading import RLock
from typing import Any

from infimm_eval import logs
from infimm_eval.errors import MachineryError
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.questions import CellQuestions
from infimm_eval.types import Answer, Model, Request


@dataclass(slots=True, eq=False)
class Asking:
    """One cell while it is asked."""

    questions: CellQuestions
    name: str
    """Names what is asked: drafts of the same name make way."""
    roster: int = 0
    count: int = 0
    """Questions put so far."""
    known: int = 0
    """Of them, those that an earlier run has answered."""
    open: int = 0
    """Of them, those that the model has not answered yet."""
    drained: bool = False
    """There are no further questions."""
    failed: int = 0
    reason: str = ""
    """Why the first of the failed ones failed."""
    seconds: float = 0.0
    """From the end of the cell before, or the start, to the last answer."""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    """What the model counted in that time."""

    @property
    def over(self) -> bool:
        """Every question was put and has come back."""
        return self.drained and not self.open


@dataclass(slots=True)
class Stream:
    """Puts the questions of all cells to the model, those apart that the log can answer.

    ``over`` is called once a cell, as soon as its last answer is on disk; also from the thread that
    draws requests, where every answer of a cell was known before.
    """

    model: Model
    log: logs.Log
    listener: ProgressListener
    over: Callable[[Asking], None]
    _waiting: dict[str, tuple[Asking, str]] = field(default_factory=dict)
    """Open requests by their id: the cell, and the key of the answer to come."""
    _lock: RLock = field(default_factory=RLock)
    _counted: Mapping[str, Any] = field(default_factory=dict)
    _since: float = 0.0

    def ask(self, cells: Sequence[Asking]) -> None:
        """Until every cell is over.  ``MachineryError`` where the model leaves questions open."""
        self._counted, self._since = statistics(self.model), time.monotonic()
        for ranks, group in groupby(cells, lambda cell: cell.questions.ranks):
            asked = list(group)
            for answer in (self.model.rank if ranks else self.model.generate)(
                self._requests(asked)
            ):
                self._take(answer)
            if self._waiting:
                left = len(self._waiting)
                some = ", ".join(islice(self._waiting, 3))
                raise MachineryError(f"{self.model.name} left {left} questions open ({some})")

    def _requests(self, cells: Sequence[Asking]) -> Iterator[Request]:
        """Whatever thread the model draws them in."""
        for cell in cells:
            yield from self._cell(cell)
            with self._lock:
                cell.drained = True
                self._end(cell)

    def _cell(self, cell: Asking) -> Iterator[Request]:
        questions = cell.questions
        self.listener.asking(questions.title, questions.shots, questions.seed)
        task, shots, seed = questions.task.name, questions.shots, questions.seed
        cell.roster = self.log.begin(cell.name, task, shots, seed)
        asker = logs.asker("rank" if questions.ranks else "generate", settings(self.model))
        for position, question in enumerate(questions):
            sample, request = question.sample, question.request
            prompt = logs.dump_prompt(request.prompt)
            key = logs.request_key(asker, sample.id, request, prompt)
            self.log.add_entry(cell.roster, position, sample, prompt, question.shot_ids, key)
            cell.count += 1
            if self.log.known(key):
                cell.known += 1
                self.listener.asked(known=True)
                continue
            yield self._opened(cell, request, key)

    def _opened(self, cell: Asking, request: Request, key: str) -> Request:
        """The request under an id that no open one has: the sample's, which may be open in
        another cell."""
        with self._lock:
            id = request.id
            while id in self._waiting:
                id += "'"
            self._waiting[id] = cell, key
            cell.open += 1
        if id == request.id:
            return request
        return Request(id, request.prompt, request.decoding, request.options)

    def _take(self, answer: Answer) -> None:
        with self._lock:
            if answer.id not in self._waiting:
                raise MachineryError(
                    f"{self.model.name} answered {answer.id!r}, which was not asked or was "
                    "answered before"
                )
            cell, key = self._waiting.pop(answer.id)
        if answer.finish == "error":  # not kept, so that the same command asks again
            cell.failed += 1
            cell.reason = cell.reason or str(answer.notes.get("error", "no reason given"))
        else:
            self.log.add_answer(key, answer)
            self.listener.asked(known=False)
        with self._lock:
            cell.open -= 1
            self._end(cell)

    def _end(self, cell: Asking) -> None:
        if not cell.over:
            return
        self.log.save()
        now, counted = time.monotonic(), statistics(self.model)
        cell.seconds, cell.statistics = now - self._since, _since(self._counted, counted)
        self._since, self._counted = now, counted
        if cell.failed:
            self.listener.note(
                f"{cell.questions.task.title}: {cell.failed} questions failed ({cell.reason})"
            )
        self.over(cell)


def settings(model: Model) -> dict[str, Any]:
    """Everything about a model that can move a number, its name with it."""
    return {"name": model.name, **model.settings}


def statistics(model: Model) -> dict[str, Any]:
    """What the model counts, where it counts."""
    return dict(getattr(model, "statistics", {}))


def _since(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Counters that grew in between; what is not a number is taken as it stands."""
    return {
        name: round(value - before.get(name, 0), 6) if isinstance(value, int | float) else value
        for name, value in after.items()
    }
