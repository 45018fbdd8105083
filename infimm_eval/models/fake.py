"""A model that is not one: answers at once, the same to the same prompt.

For trying out everything around a model.  It looks at no picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from infimm_eval.errors import MachineryError
from infimm_eval.models.options import ModelOptions, keywords
from infimm_eval.types import Answer, Prompt, Request, Style

Says: TypeAlias = str | Callable[[Request], str]

_WORDS = ("yes", "no", "2", "red", "a dog on a beach", "A", "B", "tennis")


class Fake:
    """Says ``says``: a word, ``echo`` (the last question), what a function of the request
    returns, or, left empty, one of a few words, chosen by the prompt alone.

    ``delay`` seconds pass before each answer.  Every ``error_every``-th request is answered with
    an error.  ``fail_at`` raises ``MachineryError`` in place of that many-th answer (from 1), as
    a server that goes away would.
    """

    def __init__(
        self,
        says: Says = "",
        *,
        style: Style = "completion",
        delay: float = 0.0,
        error_every: int | None = None,
        fail_at: int | None = None,
    ) -> None:
        self.says = says
        self.style: Style = style
        self.delay = delay
        self.error_every = error_every
        self.fail_at = fail_at
        self.answered = 0

    @property
    def name(self) -> str:
        """``fake:WORD``, or ``fake`` where it says this and that."""
        return f"fake:{self._said}" if self._said else "fake"

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it says is all that it is."""
        return {
            "backend": "fake",
            "fingerprint": sha256(self._said.encode()).hexdigest()[:16],
            "error_every": self.error_every,
        }

    @property
    def statistics(self) -> Mapping[str, Any]:
        """How many ``answers`` it gave."""
        return {"answers": self.answered}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Answers one request after another, and reads none ahead."""
        for request in requests:
            yield self._next(request) or Answer(request.id, self._text(request))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """The option that it would say comes first; the others fall where the prompt throws
        them."""
        for request in requests:
            yield self._next(request) or self._ranked(request)

    @property
    def _said(self) -> str:
        if isinstance(self.says, str):
            return self.says
        return getattr(self.says, "__name__", type(self.says).__name__)

    def _next(self, request: Request) -> Answer | None:
        """Counts the answer; the one to give instead, where this is the turn of an error."""
        if self.answered + 1 == self.fail_at:
            raise MachineryError(f"the fake model gave way at answer {self.fail_at}, as asked")
        if self.delay:
            time.sleep(self.delay)
        self.answered += 1
        if self.error_every and self.answered % self.error_every == 0:
            return Answer(request.id, "", "error", notes={"error": "as asked"})
        return None

    def _text(self, request: Request) -> str:
        if callable(self.says):
            return self.says(request)
        if self.says == "echo":
            return _last_question(request.prompt)
        return self.says or _WORDS[_throw(_readable(request.prompt)) % len(_WORDS)]

    def _ranked(self, request: Request) -> Answer:
        prompt, favourite = _readable(request.prompt), self._text(request)
        logliks = tuple(
            0.0 if option.strip() == favourite else -1.0 - _throw(prompt + option) % 1000 / 100
            for option in request.options
        )
        best = max(range(len(logliks)), key=logliks.__getitem__)
        return Answer(request.id, request.options[best], logliks=logliks)


def build(name: str, options: ModelOptions) -> Fake:
    """``WORD?delay=0.05&error_every=7&fail_at=100``: after the question mark, how it behaves."""
    says, _, written = name.partition("?")
    behaviour = dict(parse_qsl(written, keep_blank_values=True))
    return Fake(says, **keywords(_behaviour, {**options.options, **behaviour}, "the fake model"))


def known(name: str, options: ModelOptions) -> Mapping[str, Any]:
    """Everything: there are no weights to be loaded."""
    return build(name, options).settings


def _behaviour(
    *,
    style: Style = "completion",
    delay: float = 0.0,
    error_every: int | None = None,
    fail_at: int | None = None,
) -> None:
    """What a name may say of it, for its types alone."""


def _readable(prompt: Prompt) -> str:
    pieces = [
        piece if isinstance(piece, str) else f"[{piece.key}]"
        for turn in prompt.turns
        for piece in (turn.role, *turn.content)
    ]
    return "\n".join([prompt.system, *pieces])


def _last_question(prompt: Prompt) -> str:
    asked = [turn for turn in prompt.turns if turn.role == "user"][-1:]
    return "".join(piece for turn in asked for piece in turn.content if isinstance(piece, str))


def _throw(text: str) -> int:
    """The same number for the same text, in every process."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
