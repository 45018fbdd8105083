"""Any model behind an OpenAI-compatible chat endpoint; a judge is one too.

Sends turns and pictures, keeps many requests under way, and knows nothing of the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from threading import Lock
from time import perf_counter
from typing import Any

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.openai import replies
from infimm_eval.models.openai import requests as wire
from infimm_eval.models.openai.refusals import LONGEST, Refused, one_line, shortened
from infimm_eval.models.openai.server import Server
from infimm_eval.models.openai.servers import Servers
from infimm_eval.models.shared.answering import Answering
from infimm_eval.types import Answer, Request, Style

UNREACHED = 8
"""So many requests in a row that nobody answered, or that a gateway answered for a server that has
never answered any, and the run stops."""

_COUNTED = ("requests", "errors", "content_filter", "tokens_in", "tokens_out")


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """A request that was turned away before any was answered.

    Either that is its own fate (a moderator's 403), or the server knows no such key or model.
    """

    answer: Answer
    error: UsageError


class OpenAIModel:
    """The model that ``server`` serves as ``served``, ``concurrency`` requests at a time.

    Turns go out as chat messages in either style, pictures as base64 data URLs, ``extra`` fields
    with each.  The protocol has no beams, minimum length or length penalty: a request that wants
    them is answered by plain decoding, and the answer's notes name what was ``not_honoured``.  A
    stop string is sent, and the server leaves it out of the text.  What a server refuses of
    temperature, stop strings and limit is ``left_out`` from then on, and named in the notes.

    A request that fails for good is answered with ``finish="error"``: nobody's score.  Its notes
    hold the ``error`` in one line, which is the same for the same cause, ``final`` where asking
    again is hopeless, and ``content_filter`` where a filter kept question or answer back.
    """

    def __init__(
        self,
        served: str,
        server: Server | Servers,
        *,
        style: Style = "instruct",
        concurrency: int = 8,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.served = served
        self.server = server
        self.style: Style = style
        self.concurrency = concurrency
        self.extra = dict(extra or {})
        self._left_out: frozenset[str] = frozenset()
        self._welcome = False
        self._unreached = 0
        self._counts = Counter(dict.fromkeys(_COUNTED, 0))
        self._seconds = 0.0
        self._lock = Lock()
        self._answering = Answering()

    @property
    def name(self) -> str:
        """As the server knows it."""
        return self.served

    @property
    def settings(self) -> Mapping[str, Any]:
        """The weights cannot be seen: the fingerprint is of the name and the address."""
        where = f"{self.server.url} {self.served}"
        return {
            "backend": "openai",
            "fingerprint": sha256(where.encode()).hexdigest()[:16],
            "server": self.server.url,
            "served": self.served,
            **({"extra": self.extra} if self.extra else {}),
        }

    @property
    def statistics(self) -> Mapping[str, Any]:
        """``seconds`` are summed over requests that ran side by side; ``without_NAME`` are answers
        to requests whose field NAME the server would not take."""
        with self._lock:
            counts = dict(self._counts)
        return {**counts, "retries": self.server.retried, "seconds": round(self._seconds, 3)}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """As answers come in.  Reads no more requests than are under way.

        What stops the run is raised after the answers to all that was under way: they are paid.
        """
        return self._answering.begun(self._answers(requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Always a UsageError."""
        raise UsageError(
            f"{self.served}: a chat server gives no log-likelihood of a given answer; "
            "use --choice generate"
        )

    def close(self) -> None:
        """Ends what is being answered: nothing more is sent, and its threads end."""
        self._answering.close()

    def _answers(self, requests: Iterable[Request]) -> Generator[Answer]:
        waiting = iter(requests)
        self.server.open()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openai")

        def start(n: int) -> set[Future[Answer | _Doubtful]]:
            return {pool.submit(self._ask, request) for request in islice(waiting, n)}

        doubtful: list[_Doubtful] = []
        try:
            under_way = start(self.concurrency)
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                failed = [future for future in done if future.exception() is not None]
                for future in done.difference(failed):
                    answer = future.result()
                    if isinstance(answer, Answer):
                        yield answer
                    else:
                        doubtful.append(answer)
                if failed:
                    yield from self._last(under_way)
                    failed[0].result()
                if doubtful and self._welcome:
                    yield from (each.answer for each in doubtful)
                    doubtful.clear()
                if doubtful and not under_way:
                    raise doubtful[0].error
                if not doubtful:
                    under_way |= start(self.concurrency - len(under_way))
        finally:
            self.server.abort()
            pool.shutdown(cancel_futures=True)

    def _last(self, under_way: Iterable[Future[Answer | _Doubtful]]) -> Iterator[Answer]:
        """The sound answers among the last; who was about to try again was only cut short."""
        self.server.closing.set()
        for future in wait(under_way).done:
            answer = None if future.exception() else future.result()
            if isinstance(answer, Answer) and answer.finish != "error":
                yield answer

    def _ask(self, request: Request) -> Answer | _Doubtful:
        started, doubt = perf_counter(), None
        try:
            answer = self._answered(request)
        except MachineryError as error:  # of a picture: no server has seen it
            line = shortened(one_line(str(error)), LONGEST)
            answer = _failed(request, {"error": line, "final": True})
        except Refused as failure:
            self._note_unreached(failure)
            answer = _failed(request, failure.notes)
            if failure.status == 401:
                raise self.server.unwelcome(failure) from failure
            if failure.turned_away and not self._welcome:
                doubt = self.server.unwelcome(failure)
        finally:
            with self._lock:
                self._seconds += perf_counter() - started
        self._count(answer)
        return _Doubtful(answer, doubt) if doubt else answer

    def _answered(self, request: Request) -> Answer:
        """The server's answer to a request, and to no other field than it takes."""
        left_out, body = self._left_out, wire.body(request, self.served, self.extra)
        while True:
            sent = wire.spelled(body, left_out)
            try:
                reply = self.server.post("chat/completions", sent, replies.read)
            except Refused as failure:
                field = wire.refused_field(failure, sent)
                if field is None:
                    raise
                left_out |= {field}
            else:
                with self._lock:  # that it does without them is known now
                    self._left_out |= left_out
                return wire.answer(request, reply, left_out)

    def _count(self, answer: Answer) -> None:
        with self._lock:
            counts, notes = self._counts, answer.notes
            counts["requests"] += 1
            counts["errors"] += answer.finish == "error"
            counts["content_filter"] += "content_filter" in notes
            counts["tokens_in"] += notes.get("tokens_in", 0)
            counts["tokens_out"] += notes.get("tokens_out", 0)
            counts.update(f"without_{name}" for name in notes.get("left_out", ()))
            if answer.finish != "error":
                self._unreached, self._welcome = 0, True

    def _note_unreached(self, failure: Refused) -> None:
        with self._lock:
            away = failure.status == 0 or (failure.of_server and not self._welcome)
            self._unreached = self._unreached + 1 if away else 0
            gone = self._unreached >= UNREACHED and not self.server.closing.is_set()
        if gone:
            raise MachineryError(
                f"{self.server.url}: {UNREACHED} requests in a row were not answered ({failure})"
            )


def _failed(request: Request, notes: Mapping[str, Any]) -> Answer:
    return Answer(request.id, "", "error", notes=notes)
