"""JSON over HTTP to a server that may be busy: tries again what may yet succeed.

Knows nothing of prompts, and lets the key out in no message.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from threading import Event, Lock
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from infimm_eval.errors import UsageError

MAY_PASS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""What a later try may mend."""


_DICE = random.Random()
"""Of its own: the program's random state is no business of a busy server."""


class Refused(Exception):
    """This request failed for good; the next one may do better.  ``status`` 0: nobody answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Server:
    """An HTTP server, and how patient to be with it.

    A failed try is repeated after ``wait`` seconds, twice that, four times that, up to
    ``longest``, each shortened at random so that callers do not return together; a Retry-After
    header is waited out in full (up to ``longest``).
    """

    url: str
    key: str = field(default="", repr=False)
    tries: int = 6
    wait: float = 1.0
    longest: float = 60.0
    timeout: float = 120.0
    retried: int = field(default=0, init=False)
    closing: Event = field(default_factory=Event, init=False, repr=False)
    """Set to make every waiting try give up now."""

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--base-url {self.url!r} is not like http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise UsageError("--base-url holds a password; put the key into OPENAI_API_KEY")
        # A redirect would carry the key to another host.
        self._opener = build_opener(_Stay)
        self._counting = Lock()

    def post(self, path: str, body: object) -> Any:
        """The parsed answer.  ``Refused`` when it failed for good, ``UsageError`` where every
        further request would fail as this one did (no such key, no such model)."""
        data = json.dumps(body).encode()
        last: tuple[int, str] = (0, "no try was made")
        for attempt in range(self.tries):
            try:
                return self._once(path, data)
            except HTTPError as error:
                last = error.code, self._message(error)
                self._give_up(*last)
                asked = _seconds(error.headers.get("Retry-After"))
            except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
                last, asked = (0, str(getattr(error, "reason", error)) or repr(error)), None
            except ValueError as error:
                last, asked = (200, f"the answer is not JSON ({error})"), None
            if attempt + 1 < self.tries:
                with self._counting:
                    self.retried += 1
                if self.closing.wait(self._pause(attempt, asked)):
                    break
        raise Refused(last[0], f"{last[1]} (after {attempt + 1} tries)")

    def _once(self, path: str, data: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = Request(f"{self.url}/{path}", data, headers, method="POST")
        with self._opener.open(request, timeout=self.timeout) as response:
            return _whole(json.loads(response.read()))

    def _message(self, error: HTTPError) -> str:
        """The status and what the server says about it, on one line, without the key."""
        with error:
            try:
                said = error.read(4000).decode("utf-8", "replace")
            except (OSError, HTTPException):
                said = ""
        text = f"HTTP {error.code}: {' '.join(said.split())[:300] or error.reason}"
        return text.replace(self.key, "[key]") if self.key else text

    def _give_up(self, status: int, message: str) -> None:
        if status in (401, 403):
            state = "the key in OPENAI_API_KEY" if self.key else "no key: set OPENAI_API_KEY"
            raise UsageError(f"{self.url} refuses {state} ({message})")
        if status in (404, 405) or 300 <= status < 400:
            raise UsageError(f"{self.url} has no such model or address ({message})")
        if status not in MAY_PASS:
            raise Refused(status, message)

    def _pause(self, attempt: int, asked: float | None) -> float:
        if asked is not None:
            return min(asked, self.longest)
        return min(self.wait * float(2**attempt), self.longest) * _DICE.uniform(0.5, 1.0)


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _whole(parsed: Any) -> Any:
    """Half a surrogate pair, which JSON can spell and no file can hold, becomes U+FFFD."""
    text = json.dumps(parsed, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _seconds(header: str | None) -> float | None:
    """A Retry-After header: seconds, or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, when.replace(tzinfo=when.tzinfo or UTC).timestamp() - time.time())
