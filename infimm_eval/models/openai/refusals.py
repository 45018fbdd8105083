"""Why a request failed, in one line without secrets, and whether to try again.

Reads what servers say about their failures; sends nothing, and reads no answers.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

LONGEST = 200
"""Characters of a message."""

TOO_LONG = "context_length"
"""The code of a prompt that the model cannot hold, whatever the server calls it."""

Fate: TypeAlias = Literal["busy", "odd", "slow", "unreadable", "hopeless", "filtered"]
"""``busy``: may pass.  ``odd``: reported as a success, and none.  ``slow``: past its deadline.
``unreadable``: a reply of no known shape.  ``hopeless``: the same again would fail again.
``filtered``: somebody's filter keeps question or answer back."""

TRIES: Mapping[Fate, int] = {"odd": 3, "slow": 2, "unreadable": 1, "hopeless": 1, "filtered": 1}
"""The most tries of each; who is ``busy`` is asked as often as a person allows."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says about a failure."""

    message: str
    """One line, the same for the same cause."""
    code: str = ""
    """Code and type of the failure, in the server's own words."""
    param: str = ""
    """The field of the request that it is about."""


class Refused(Exception):
    """One request failed; the next one may do better.

    ``status``: of HTTP; 0: nobody answered; 200: said in a reply that looks well.
    """

    def __init__(
        self,
        status: int,
        said: Said | str,
        fate: Fate,
        *,
        where: str = "",
        retry_after: str | None = None,
    ) -> None:
        self.status = status
        self.said = said if isinstance(said, Said) else Said(said)
        self.fate: Fate = fate
        self.retry_after = retry_after
        self.tried = 1
        head = "" if status in (0, 200) else f"HTTP {status}{where}: "
        self._line = head + self.said.message + ("" if head else where)
        super().__init__(self._line)

    def __str__(self) -> str:
        """One line, no longer than ``LONGEST``."""
        tail = f" (after {self.tried} tries)" if self.tried > 1 else ""
        return shortened(self._line, LONGEST - len(tail)) + tail

    @property
    def turned_away(self) -> bool:
        """Whether every request may well fare like this one: a key, a model or an address that the
        server does not know."""
        away = self.status in (401, 403, 404, 405) or 300 <= self.status < 400
        return away and self.fate == "hopeless" and not _SPENT.search(str(self))

    @property
    def of_server(self) -> bool:
        """Whether the server is in a state in which any request would fail: nobody is there, or it
        asks to be spared."""
        return self.fate == "busy" and self.status in _OF_SERVER

    @property
    def notes(self) -> dict[str, Any]:
        """As an answer's notes tell of it; ``final``: asking again is hopeless."""
        final = self.fate in ("hopeless", "filtered")
        filtered = {"content_filter": True} if self.fate == "filtered" else {}
        return {"error": str(self), **({"final": True} if final else {}), **filtered}


def refused(
    status: int, body: object, *, where: str = "", retry_after: str | None = None
) -> Refused:
    """The failure that a status and a body (text, or parsed JSON) tell of."""
    said = _said(body) or Said("no reason given")
    words = f"{said.message} {said.code}"
    if _LONG.search(words):
        return Refused(status, Said(_alike(said.message), TOO_LONG), "hopeless")
    if status in _MAY_FILTER and _FILTERED.search(words):
        said = Said(f"content_filter: {said.message}", said.code, said.param)
        return Refused(status, said, "filtered", where=where)
    spent = _SPENT.search(words) and not (retry_after or _SOON.search(words))
    passing = status in _MAY_PASS or status >= 500
    fate: Fate = "busy" if passing and not spent else "hopeless"
    return Refused(status, said, fate, where=where, retry_after=retry_after)


_MAY_PASS = frozenset({200, 408, 409, 425, 429})
_OF_SERVER = frozenset({0, 429, 502, 503, 504, 529})
_MAY_FILTER = frozenset({200, 400, 403, 422, 451})
_SPENT = re.compile(
    "insufficient.(quota|credit|balance|fund)|exceeded your current quota|credit balance"
    "|billing.(hard.limit|not.active)",
    re.IGNORECASE,
)
"""Quota: waiting does not bring it back, unless a time is named."""
_SOON = re.compile("(retry|again) (in|after) ", re.IGNORECASE)
_LONG = re.compile(
    r"context.{0,3}(length|size|window)|maximum (model|prompt|input) length|prompt is too long"
    r"|input is too long|too many (input )?tokens",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content.?filter|content.?policy|content management policy|moderat|flagged|safety system"
    "|responsible.?ai|data_inspection",
    re.IGNORECASE,
)


def one_line(text: str) -> str:
    """Without line breaks, control characters and markup."""
    text = re.sub(r"<[^<>]*>", " ", text) if text.lstrip().startswith("<") else text
    seen = (" " if unicodedata.category(c)[0] in "CZ" else c for c in text[: 20 * LONGEST])
    return " ".join("".join(seen).split())


def shortened(text: str, limit: int) -> str:
    """No more than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _said(body: object) -> Said | None:
    """From the shapes in which servers speak of errors; None where there is nothing."""
    if isinstance(body, str):
        try:
            return _said(json.loads(body))
        except (ValueError, RecursionError):
            return _named(body)
    if isinstance(body, list):
        return _said(body[0]) if body and isinstance(body[0], dict | list) else None
    if not isinstance(body, dict):
        return None if body is None else _named(str(body))
    if body.get("error"):
        return _inside(body["error"])
    return _inside(body)


def _inside(error: object) -> Said | None:
    """What the error object itself says."""
    if not isinstance(error, dict):
        return _named(str(error))
    texts = [error.get(name) for name in ("message", "detail", "msg", "title")]
    found: Any = next((text for text in texts if text), None)
    if isinstance(found, list):  # one error a field: its place in the body, and what is wrong
        first = found[0] if isinstance(found[0], dict) else {"msg": found[0]}
        place = first.get("loc")
        field = str(place[-1]) if isinstance(place, list) and place else ""
        found = f"{field}: {first.get('msg')}" if field else first.get("msg")
        error = {**error, "param": field}
    if not found:
        return None
    code = " ".join(str(error[name]) for name in ("code", "type") if error.get(name))
    return _named(str(found), code, str(error.get("param") or ""))


def _named(message: str, code: str = "", param: str = "") -> Said | None:
    message = _VARYING.sub("[...]", one_line(message))
    return Said(message, one_line(code), one_line(param)) if message else None


_VARYING = re.compile(
    r"\b(?:req|request|chatcmpl|cmpl|trace|gen|resp|msg|call)[-_](?=[\w-]*\d)[\w-]{6,}"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22,}|\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{12,}\b|\b\d{9,}\b"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*"
    r"|\b(?:\d+(?:\.\d+)?\s?(?:ms|milliseconds?|secs?|seconds?|minutes?|[hms])\b|\d+[hm](?=\d))+",
    re.IGNORECASE,
)
"""Ids and times, which make one cause look like many."""


def _alike(message: str) -> str:
    """The same for every question that is too long: of its numbers, the limit is left."""
    return re.sub(
        r"\d[\d,]*",
        lambda number: number[0] if _LIMIT.search(message[: number.start()]) else "N",
        message,
    )


_LIMIT = re.compile(r"(max|limit|context)[^\d]*$", re.IGNORECASE)
