"""One stream of requests over all cells of a run, and the answers on their way into the log.

The model never waits between cells: while the last answers of one come in, it is already given the
questions of the next.  Knows neither benchmarks nor scores.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from math import isfinite
from pathlib import Path
from threading import RLock
from typing import Any, TypeAlias, get_args

from infimm_eval import logs, models
from infimm_eval.errors import InfimmEvalError, MachineryError, UsageError, unforeseen
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.questions import CellQuestions, Question
from infimm_eval.types import Answer, Finish, Image, Model, Request

Ask: TypeAlias = Callable[[Iterable[Request]], Iterator[Answer]]
"""``Model.generate`` or ``Model.rank``."""


@dataclass(slots=True, eq=False)
class CellProgress:
    """One cell while it is asked."""

    questions: CellQuestions
    name: str
    """Names what is asked: drafts of the same name make way."""
    roster: int = 0
    count: int = 0
    """Questions put so far."""
    known: int = 0
    """Of them, those that an earlier run has answered."""
    changed: int = 0
    """Of them, those in whose prompts a control has changed something."""
    new_pictures: int = 0
    """Distinct pictures in its prompts that no cell before has shown, where controls are run."""
    shots_kept: set[str] = field(default_factory=set)
    """Shots that the log has of this cell."""
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
    workers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by kind and number of the worker, where there are several."""

    @property
    def over(self) -> bool:
        """Every question was put and has come back."""
        return self.drained and not self.open


HOPELESS = 20
"""So many failures in a row for one and the same reason stop a run: the quota is spent, the server
takes one picture a prompt, the context is too short."""


class Interrupted(Exception):
    """Whoever wanted answers has had enough for now; those that were given are kept."""


@dataclass(slots=True)
class _Open:
    """A request that the model has not answered yet."""

    cell: CellProgress
    request: Request
    key: str
    """Of the answer to come."""


@dataclass(slots=True)
class Stream:
    """Puts the questions of all cells to the model, those apart that the log can answer.

    ``over`` is called once a cell, as soon as its last answer is on disk; also from the thread that
    draws requests, where every answer of a cell was known before.
    """

    model: Model
    log: logs.Log
    listener: ProgressListener
    over: Callable[[CellProgress], None]
    enough: Callable[[], bool] = lambda: False
    """Asked after every answer; once it says so no further question is put."""
    _ending: bool = False
    _waiting: dict[str, _Open] = field(default_factory=dict)
    """By the request's id."""
    _shown: set[str] = field(default_factory=set)
    """Keys of the pictures in prompts so far, where controls are run."""
    _alike: tuple[str, int] = ("", 0)
    """Why the last questions failed, and how many in a row did for that reason."""
    _frames: logs.Frames = field(default_factory=logs.Frames)
    _lock: RLock = field(default_factory=RLock)
    _counted: Mapping[str, Any] = field(default_factory=dict)
    _since: float = 0.0

    def ask(self, cells: Sequence[CellProgress]) -> None:
        """Until every cell is over.  ``MachineryError`` where the model leaves questions open,
        ``Interrupted`` where it was ``enough`` before: what the model was reading is answered."""
        self._counted, self._since = statistics(self.model), time.monotonic()
        for ranks, group in groupby(cells, lambda cell: cell.questions.ranks):
            ask = models.require_rank(self.model).rank if ranks else self.model.generate
            requests = self._requests(list(group))
            while not self._answered(ask, requests):
                self._ask_alone(ask)
            if self._waiting:
                left = len(self._waiting)
                some = ", ".join(islice(self._waiting, 3))
                raise MachineryError(f"{self.model.name} left {left} questions open ({some})")
            if self._ending:
                break
        if not all(cell.over for cell in cells):
            self.log.save()
            raise Interrupted

    def _answered(self, ask: Ask, requests: Iterator[Request]) -> bool:
        """Whether the model came to the end of the requests; False where an error of one of them
        broke it off.  What the program itself refuses or cannot do ends the run as it is."""
        try:
            for answer in ask(requests):
                self._take(answer)
        except InfimmEvalError:
            raise
        except Exception as error:
            if not self._waiting:
                raise MachineryError(
                    f"the model {self.model.name} raised {unforeseen(error)} ({_place(error)}); "
                    "what was answered before is kept"
                ) from error
            self.listener.note(f"{self.model.name} broke off ({unforeseen(error)}) and is asked on")
            return False
        return True

    def _ask_alone(self, ask: Ask) -> None:
        """Put each open request by itself: one that cannot be answered takes no other with it."""
        for id, waiting in list(self._waiting.items()):
            try:
                answers = list(ask(iter([waiting.request])))
            except InfimmEvalError:
                raise
            except Exception as error:  # noqa: BLE001  whatever it is, it is of this question
                answers = [Answer(id, "", "error", notes={"error": unforeseen(error)})]
            for answer in answers:
                self._take(answer)

    def _requests(self, cells: Sequence[CellProgress]) -> Iterator[Request]:
        """Whatever thread the model draws them in."""
        for cell in cells:
            yield from self._cell(cell)
            if self._ending:
                return
            with self._lock:
                cell.drained = True
                self._end(cell)

    def _cell(self, cell: CellProgress) -> Iterator[Request]:
        questions = cell.questions
        title = ", ".join(filter(None, (questions.title, questions.control)))
        self.listener.asking(title, questions.shots, questions.seed)
        task, shots, seed = questions.task.name, questions.shots, questions.seed
        cell.roster = self.log.begin(cell.name, task, shots, seed)
        asker = logs.asker("rank" if questions.ranks else "generate", settings(self.model))
        for position, question in enumerate(questions):
            if self._ending:
                return
            sample, request = question.sample, question.request
            prompt = logs.dump_prompt(request.prompt)
            key = logs.request_key(asker, sample.id, request, prompt)
            self._enter(cell, position, question, prompt, key)
            cell.count += 1
            cell.changed += question.changed > 0
            if questions.plan.controls:
                self._look(cell, request)
            if question.error:
                self._fail(cell, question.error)
                continue
            if self.log.known(key):
                cell.known += 1
                self.listener.asked(known=True)
                continue
            yield self._opened(cell, request, key)

    def _look(self, cell: CellProgress, request: Request) -> None:
        """Count what no cell before has shown: pictures that a model has to encode."""
        parts = (part for turn in request.prompt.turns for part in turn.content)
        keys = {part.key for part in parts if isinstance(part, Image)}
        cell.new_pictures += len(keys - self._shown)
        self._shown |= keys

    def _enter(
        self, cell: CellProgress, position: int, question: Question, prompt: str, key: str
    ) -> None:
        try:
            self.log.add_entry(
                cell.roster, position, question.sample, prompt, question.shot_ids, key
            )
        except UsageError as error:
            raise UsageError(f"{cell.questions.task.name}, row {position + 1}: {error}") from error
        if cell.questions.control:  # whose shots are the plain cell's
            return
        for shot in question.shots:
            if shot.id not in cell.shots_kept:
                cell.shots_kept.add(shot.id)
                self.log.add_shot(cell.roster, shot)

    def _opened(self, cell: CellProgress, request: Request, key: str) -> Request:
        """The request under an id that no open one has: the sample's, which may be open in
        another cell."""
        with self._lock:
            id = request.id
            while id in self._waiting:
                id += "'"
            named = request if id == request.id else replace(request, id=id)
            self._waiting[id] = _Open(cell, named, key)
            cell.open += 1
        return named

    def _take(self, answer: Answer) -> None:
        if not isinstance(answer, Answer):
            raise MachineryError(
                f"{self.model.name} yields {type(answer).__name__!r}; an Answer is wanted"
            )
        with self._lock:
            if answer.id not in self._waiting:
                raise MachineryError(
                    f"{self.model.name} answered {answer.id!r}, which was not asked or was "
                    "answered before"
                )
            waiting = self._waiting.pop(answer.id)
        cell = waiting.cell
        if wrong := _fault(answer, waiting.request):
            self._fail(cell, f"{self.model.name} broke the protocol: {wrong}")
        elif answer.finish == "error":  # not kept, so that the same command asks again
            reason = str(answer.notes.get("error", "no reason given"))
            self._fail(cell, reason, alone=bool(answer.notes.get("content_filter")))
        else:
            self._alike = ("", 0)
            frame = self._frames.of(waiting.request.prompt, answer.prompt)
            self.log.add_answer(waiting.key, answer, frame)
            if worker := getattr(self.model, "answered_by", None):
                cell.workers[worker] += 1
            self.listener.asked(known=False)
        with self._lock:
            cell.open -= 1
            self._end(cell)
        self._ending = self._ending or self.enough()

    def _fail(self, cell: CellProgress, reason: str, *, alone: bool = False) -> None:
        """One question comes to nothing.  ``MachineryError`` after many in a row for one reason,
        unless the reason is of each question ``alone``."""
        cell.failed += 1
        cell.reason = cell.reason or reason
        if alone:
            return
        before, count = self._alike
        self._alike = (reason, count + 1 if reason == before else 1)
        if self._alike[1] == HOPELESS:
            raise MachineryError(
                f"{self.model.name}: {HOPELESS} questions in a row failed for one reason "
                f"({reason}); what was answered before is kept"
            )

    def _end(self, cell: CellProgress) -> None:
        if not cell.over:
            return
        self.log.save()
        now, counted = time.monotonic(), statistics(self.model)
        cell.seconds, cell.statistics = now - self._since, _since(self._counted, counted)
        if cell.questions.plan.controls:
            cell.statistics = {**cell.statistics, "pictures_new": cell.new_pictures}
        self._since, self._counted = now, counted
        if cell.failed:
            self.listener.note(
                f"{cell.questions.task.title}: {cell.failed} questions failed ({cell.reason})"
            )
        self.over(cell)


_FINISHES = get_args(Finish)


def _fault(answer: Answer, request: Request) -> str:
    """What is wrong with an answer, whatever it says."""
    if not isinstance(answer.text, str):
        return f"the text of an answer is {answer.text!r}"
    if answer.finish not in _FINISHES:
        return f"finish {answer.finish!r} is none of {', '.join(_FINISHES)}"
    if wrong := _misread(answer.prompt, request):
        return wrong
    if answer.finish == "error" or not request.options:
        return ""
    if len(answer.logliks) != len(request.options):
        return f"{len(answer.logliks)} log-likelihoods of {len(request.options)} options"
    return "" if all(map(isfinite, answer.logliks)) else "a log-likelihood that is no number"


def _misread(read: object, request: Request) -> str:
    """What is wrong with a prompt as the model read it."""
    if read == ():
        return ""
    if not isinstance(read, tuple) or not all(isinstance(text, str) for text in read):
        return f"its prompt is {type(read).__name__!r}, and should be a tuple of texts"
    shown = sum(isinstance(p, Image) for turn in request.prompt.turns for p in turn.content)
    if len(read) > shown + 1:
        return f"its prompt is cut at {len(read) - 1} pictures, and {shown} were shown"
    return ""


def _place(error: Exception) -> str:
    """Where it was raised: file and line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"


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
