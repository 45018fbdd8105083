"""A worker's model, fed from a queue: it gets the next requests before it has answered the last.

One thread runs the model; others put requests in and take answers out.  Knows neither Ray nor who
asks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from threading import Condition, Thread
from typing import Any, TypeVar

from infimm_eval import models
from infimm_eval.errors import InfimmEvalError, MachineryError, unforeseen
from infimm_eval.types import Answer, Model, Request
from infimm_eval.workers.calls import Kind

T = TypeVar("T")

GAP = 0.2
"""Seconds that a model waits for further requests, where some are to come, before it is told that
there are none, so that it ends what it has begun."""
COUNTED_EVERY = 1.0
"""Seconds between looks at what the model counts, beside that after its last answer."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What came of a worker since the last time."""

    answers: Sequence[tuple[int, Answer]] = ()
    """Each with the number of its call."""
    seconds: float = 0.0
    """That the model had work since the last time."""
    drawn: int = 0
    """Requests that the model has taken so far, or that were taken from it."""
    returned: Sequence[tuple[int, str]] = ()
    """Call and id of requests that the model has not taken and never will."""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    error: InfimmEvalError | None = None
    """Why the model answers no more."""


@dataclass(frozen=True, slots=True)
class _Task:
    call: int
    kind: Kind
    request: Request


class Serving:
    """``load`` makes the model, in the thread that runs it; everything else comes from others."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load = load
        self._model: Model
        self._changed = Condition()
        self._inbox: deque[_Task] = deque()
        self._open: dict[str, _Task] = {}
        self._answers: list[tuple[int, Answer]] = []
        self._returned: list[tuple[int, str]] = []
        self._works: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._drawn = self._told = 0
        self._low, self._more = 0, False
        self._since: float | None = None
        self._seconds = 0.0
        self._error: InfimmEvalError | None = None
        self._counted: Mapping[str, Any] = {}
        self._counted_at = 0.0

    def start(self) -> Model:
        """Begin.  The model, once it is loaded; raises what loading it does."""
        loaded: Future[Model] = Future()
        # A daemon, so that a model that hangs does not keep its process from ending.
        Thread(target=self._serve, args=(loaded,), name="model", daemon=True).start()
        self._model = loaded.result()
        return self._model

    def feed(self, call: int, kind: Kind, requests: Sequence[Request]) -> None:
        """Requests to be answered after those that are there."""
        with self._changed:
            self._inbox.extend(_Task(call, kind, request) for request in requests)
            self._more = True
            self._changed.notify_all()

    def give_back(self, count: int) -> None:
        """Let go of the last ``count`` requests that the model has not taken yet."""
        with self._changed:
            for _ in range(min(count, len(self._inbox))):
                self._let_go(self._inbox.pop())
            self._changed.notify_all()

    def drop(self, call: int, ids: Sequence[str]) -> None:
        """Forget requests that others have answered, as far as the model has not taken them."""
        with self._changed:
            gone = {(call, id) for id in ids}
            waiting, self._inbox = self._inbox, deque()
            for task in waiting:
                if (task.call, task.request.id) in gone:
                    self._let_go(task)
                else:
                    self._inbox.append(task)
            self._changed.notify_all()

    def collect(self, low: int, linger: float, *, more: bool) -> Collected:
        """Waits for an answer, then ``linger`` seconds for others; no longer once fewer than
        ``low`` requests wait, or all are answered.  ``more``: whether there will be further
        requests."""
        with self._changed:
            self._low, self._more = low, more
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answers or self._urgent)
            self._changed.wait_for(lambda: self._urgent or self._idle, linger)
            self._clock()
            told = Collected(
                self._answers,
                self._seconds,
                self._drawn,
                self._returned,
                self._counted,
                self._error,
            )
            self._answers, self._returned, self._seconds = [], [], 0.0
            self._told = self._drawn
        return told

    def run(self, work: Callable[[], T]) -> T:
        """Something else that the model is to do, in its own thread, between requests."""
        future: Future[T] = Future()
        with self._changed:
            self._works.append((work, future))
            self._changed.notify_all()
        return future.result()

    def _serve(self, loaded: Future[Model]) -> None:
        _settle(self._load, loaded)
        while loaded.exception() is None and self._error is None:
            with self._changed:
                self._changed.wait_for(lambda: self._inbox or self._works)
                work = self._works.popleft() if self._works else None
                kind = self._inbox[0].kind if self._inbox else "generate"
            if work is not None:
                _settle(*work)
                continue
            try:
                self._answer(kind)
            except InfimmEvalError as error:
                self._stop(error)
            except BaseException as error:  # noqa: BLE001  whatever ends the model's thread
                self._stop(MachineryError(unforeseen(error)))

    def _answer(self, kind: Kind) -> None:
        """One call of the model, for as long as requests of one kind keep coming."""
        model = models.require_rank(self._model) if kind == "rank" else self._model
        ask = model.rank if kind == "rank" else model.generate  # type: ignore[attr-defined]
        try:
            for answer in ask(self._requests(kind)):
                self._take(answer)
        except InfimmEvalError:
            raise
        except Exception:  # noqa: BLE001  of one of the requests: each is asked alone
            for id, task in list(self._open.items()):
                self._alone(ask, id, task.request)
        if self._open:
            raise MachineryError(f"{self._model.name} left {len(self._open)} questions open")

    def _alone(self, ask: Callable[..., Iterator[Answer]], id: str, request: Request) -> None:
        try:
            answers = list(ask(iter([replace(request, id=id)])))
        except InfimmEvalError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it is of this question
            answers = [Answer(id, "", "error", notes={"error": unforeseen(error)})]
        for answer in answers:
            self._take(answer)

    def _requests(self, kind: Kind) -> Iterator[Request]:
        """In whatever thread the model draws them."""
        while True:
            with self._changed:
                if not self._inbox:
                    self._changed.wait_for(self._disturbed, GAP)
                if self._works or not self._inbox or self._inbox[0].kind != kind:
                    return
                request = self._opened(self._inbox.popleft())
                if self._urgent:
                    self._changed.notify_all()
            yield request

    def _opened(self, task: _Task) -> Request:
        """Under an id that no other open request has: calls may ask the same question."""
        self._clock()
        id = task.request.id
        while id in self._open:
            id += "'"
        self._open[id] = task
        self._drawn += 1
        self._since = self._since or time.perf_counter()
        return task.request if id == task.request.id else replace(task.request, id=id)

    def _take(self, answer: Answer) -> None:
        if not isinstance(answer, Answer) or answer.id not in self._open:
            said = answer.id if isinstance(answer, Answer) else type(answer).__name__
            raise MachineryError(
                f"{self._model.name} answered {said!r}, which was not asked or was answered before"
            )
        with self._changed:
            task = self._open.pop(answer.id)
            last = self._idle
        now = time.perf_counter()
        if last or now - self._counted_at > COUNTED_EVERY:  # it may wait for an accelerator
            self._counted = dict(getattr(self._model, "statistics", {}))
            self._counted_at = now
        with self._changed:
            self._answers.append((task.call, replace(answer, id=task.request.id)))
            if last or len(self._answers) == 1:  # who collects would wake up for nothing
                self._changed.notify_all()

    def _let_go(self, task: _Task) -> None:
        self._returned.append((task.call, task.request.id))
        self._drawn += 1

    def _stop(self, error: InfimmEvalError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    @property
    def _urgent(self) -> bool:
        short = len(self._inbox) < self._low and self._drawn != self._told
        return self._error is not None or short or bool(self._returned)

    def _disturbed(self) -> bool:
        return bool(self._inbox or self._works) or not self._more

    @property
    def _idle(self) -> bool:
        return not self._inbox and not self._open

    def _clock(self) -> None:
        """Adds the time since the last look, while there was work."""
        now = time.perf_counter()
        if self._since is not None:
            self._seconds += now - self._since
        self._since = now if self._open else None


def _settle(work: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  raised where it was asked for
        future.set_exception(error)
