"""JSON to and from a server that may be busy: tries again what may yet succeed.

Knows nothing of prompts, and lets the key out in no message and no reply.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import count
from threading import Event, Lock
from typing import Any, TypeVar

import infimm_eval
from infimm_eval.errors import UsageError
from infimm_eval.models.openai.address import MODELS_KEY, Address
from infimm_eval.models.openai.cooldown import Cooldown
from infimm_eval.models.openai.exchange import Exchange, Received
from infimm_eval.models.openai.refusals import TRIES, Refused, refused

Reading = TypeVar("Reading")

_DICE = random.Random()
"""Of its own: the program's random state is no business of a busy server."""


@dataclass
class Server:
    """An HTTP server, and how patient to be with it.

    A failed try is repeated after ``wait`` seconds, twice that, four times that, up to
    ``longest``, with chance in it so that callers do not return together; a Retry-After header is
    waited out in full (up to ``longest``).  Where the failure is the server's state and not the
    request's (too many requests, a bad gateway, nobody there), all callers wait together.
    """

    address: Address
    key: str = field(default="", repr=False)
    key_from: str = MODELS_KEY
    """The variable that holds the key, for messages."""
    tries: int = 6
    wait: float = 1.0
    longest: float = 60.0
    timeout: float = 300.0
    """Seconds for a whole reply."""
    retried: int = field(default=0, init=False)
    closing: Event = field(default_factory=Event, init=False, repr=False)
    """Set to make every waiting try give up now."""

    def __post_init__(self) -> None:
        self._secret = "" if _is_placeholder(self.key) else self.key
        if self._secret and self._secret in self.url:
            raise UsageError(f"the server address holds the key of {self.key_from}; leave it out")
        self._exchange = Exchange(self.address, self.timeout)
        self._counting = Lock()
        self._cooldown = Cooldown(self.wait, self.longest)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.address.url

    @property
    def pause(self) -> float:
        """Seconds before it may be asked again; 0 while it is well."""
        return self._cooldown.left()

    def post(
        self, path: str, body: object, read: Callable[[Any], Reading], *, leave: bool = False
    ) -> Reading:
        """What ``read`` makes of the parsed reply; it raises ``Refused`` where that is none.

        ``Refused`` when the request failed for good, or, to ``leave``, as soon as it is the server
        that is in trouble: another can be asked.
        """
        data = json.dumps(body).encode()
        round = self._cooldown.round
        self.closing.wait(self._cooldown.left())
        for attempt in count(1):
            try:
                found = read(self._once(path, data))
            except Refused as failure:
                failure.tried = attempt
                pause = self._after(failure, attempt, round)
                round = self._cooldown.round
                if attempt >= min(self.tries, TRIES.get(failure.fate, self.tries)):
                    raise
                if leave and failure.of_server:
                    raise
                with self._counting:
                    self.retried += 1
                if self.closing.wait(pause):
                    raise
            else:
                self._cooldown.answered()
                return found
        raise AssertionError("counting does not end")

    def open(self) -> None:
        """After ``abort``: requests are sent and tried again."""
        self.closing.clear()
        self._exchange.open()

    def abort(self) -> None:
        """Breaks off what is under way, and lets nothing be tried again."""
        self.closing.set()
        self._exchange.abort()

    def unwelcome(self, failure: Refused) -> UsageError:
        """The error where every further request would fail as this one did: no such key, no such
        model."""
        if failure.status in (401, 403):
            state = f"the key in {self.key_from}" if self.key else f"no key: set {self.key_from}"
            return UsageError(f"{self.url} refuses {state} ({failure})")
        return UsageError(f"{self.url} has no such model or address ({failure})")

    def _once(self, path: str, data: bytes) -> Any:
        received = self._exchange.post(path, data, self._headers())
        if not 200 <= received.status < 300:
            raise self._refused(received)
        try:
            return _clean(json.loads(received.body), self._secret)
        except (ValueError, RecursionError) as error:
            where = self._exchange.where
            raise Refused(200, "the reply is not JSON", "odd", where=where) from error

    def _headers(self) -> Mapping[str, str]:
        plain = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"infimm_eval/{infimm_eval.__version__}",
        }
        if not self.key:
            return plain
        if self.address.versioned:
            return plain | {"api-key": self.key}
        return plain | {"Authorization": f"Bearer {self.key}"}

    def _refused(self, received: Received) -> Refused:
        try:
            body = _clean(json.loads(received.body), self.key)
        except (ValueError, RecursionError):
            body = received.body.replace(self.key, "[key]") if self.key else received.body
        return refused(
            received.status, body, where=self._exchange.where, retry_after=received.retry_after
        )

    def _after(self, failure: Refused, attempt: int, round: int) -> float:
        """How long this caller is to wait after its failure; where all are, they are told."""
        asked = _seconds(failure.retry_after)
        if failure.of_server:
            self._cooldown.failed(round, asked)
            return self._cooldown.left()
        if asked is not None:
            return min(asked, self.longest)
        return min(self.wait * 2.0 ** (attempt - 1), self.longest) * _DICE.uniform(0.5, 1.0)


def _clean(parsed: Any, secret: str) -> Any:
    """Half a surrogate pair, which JSON can spell and no file can hold, becomes U+FFFD; a secret
    that comes back is not kept."""
    text = json.dumps(parsed, ensure_ascii=False)
    if secret:
        text = text.replace(json.dumps(secret)[1:-1], "[key]")
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _is_placeholder(key: str) -> bool:
    """Whether a key is one like EMPTY or 123, which may well be an answer."""
    return len(key) < (12 if key.isalpha() or key.isdigit() else 6)


def _seconds(header: str | None) -> float | None:
    """A Retry-After header: seconds, or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _until(header)
    return max(0.0, seconds) if seconds < float("inf") else None


def _until(date: str) -> float | None:
    try:
        when = parsedate_to_datetime(date)
        return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
