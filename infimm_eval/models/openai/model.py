"""Any model behind an OpenAI-compatible chat endpoint; a judge is one too.

Sends turns and pictures, keeps many requests under way, and knows nothing of the weights.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import sha256
from itertools import islice
from threading import Lock
from time import perf_counter
from typing import Any

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.openai import requests as wire
from infimm_eval.models.openai.server import Refused, Server
from infimm_eval.models.shared.answering import Answering
from infimm_eval.types import Answer, Request, Style

UNREACHED = 8
"""So many requests in a row that nobody answered, and the run stops."""


class OpenAIModel:
    """The model that ``server`` serves as ``served``, ``concurrency`` requests at a time.

    Turns go out as chat messages in either style, pictures as base64 data URLs.  The protocol
    has no beams, minimum length or length penalty: a request that wants them is answered by
    plain decoding, and the answer's notes name what was ``not_honoured``.  A stop string is
    sent, and the server leaves it out of the text.

    A request that fails for good is answered with ``finish="error"``: nobody's score.
    """

    def __init__(
        self, served: str, server: Server, *, style: Style = "instruct", concurrency: int = 8
    ) -> None:
        self.served = served
        self.server = server
        self.style: Style = style
        self.concurrency = concurrency
        self._limit = "max_tokens"
        self._lock = Lock()
        self._unreached = 0
        self._counts = {"requests": 0, "errors": 0, "tokens_in": 0, "tokens_out": 0}
        self._seconds = 0.0
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
        }

    @property
    def statistics(self) -> Mapping[str, Any]:
        """``seconds`` are summed over requests that ran side by side."""
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
        self.server.closing.clear()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="openai")

        def start(n: int) -> set[Future[Answer]]:
            return {pool.submit(self._ask, request) for request in islice(waiting, n)}

        under_way = start(self.concurrency)
        try:
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                failed = [future for future in done if future.exception() is not None]
                for future in done.difference(failed):
                    yield future.result()
                if failed:
                    yield from self._last(under_way)
                    failed[0].result()
                under_way |= start(len(done))
        finally:
            self.server.closing.set()
            pool.shutdown(cancel_futures=True)

    def _last(self, under_way: Iterable[Future[Answer]]) -> Iterator[Answer]:
        """The sound answers among the last; who was about to try again was only cut short."""
        self.server.closing.set()
        for future in wait(under_way).done:
            if future.exception() is None and (answer := future.result()).finish != "error":
                yield answer

    def _ask(self, request: Request) -> Answer:
        started = perf_counter()
        try:
            reply = self._post(wire.body(request, self.served))
            answer = wire.answer(request, reply)
            usage = reply.get("usage") or {}
        except Refused as refused:
            self._note_unreached(refused)
            answer = Answer(request.id, "", "error", notes={"error": str(refused)})
            usage = {}
        with self._lock:
            self._seconds += perf_counter() - started
            self._counts["requests"] += 1
            self._counts["errors"] += answer.finish == "error"
            self._counts["tokens_in"] += usage.get("prompt_tokens") or 0
            self._counts["tokens_out"] += usage.get("completion_tokens") or 0
            if answer.finish != "error":
                self._unreached = 0
        return answer

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Newer models of one vendor want the limit under another name, and say so."""
        limit = body.pop("max_tokens")
        try:
            return self._chat(body | {self._limit: limit})
        except Refused as refused:
            if refused.status != 400 or "max_completion_tokens" not in str(refused):
                raise
            self._limit = "max_completion_tokens"
            return self._chat(body | {self._limit: limit})

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        reply = self.server.post("chat/completions", body)
        if not isinstance(reply, dict) or not reply.get("choices"):
            raise Refused(200, f"the server answered without choices: {str(reply)[:200]}")
        return reply

    def _note_unreached(self, refused: Refused) -> None:
        with self._lock:
            self._unreached = self._unreached + 1 if refused.status == 0 else 0
            gone = self._unreached >= UNREACHED and not self.server.closing.is_set()
        if gone:
            raise MachineryError(
                f"{self.server.url}: {UNREACHED} requests in a row were not answered ({refused})"
            )
