"""A request as a chat endpoint takes it, and its reply as an answer.

Sends nothing; how prompts are written is the formatter's business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from infimm_eval.models.openai.prompts import messages
from infimm_eval.models.openai.refusals import TOO_LONG, Refused, Said
from infimm_eval.models.openai.replies import Reply
from infimm_eval.types import Answer, Decoding, Document, Request

LIMITS = ("max_tokens", "max_completion_tokens")
"""The older and the newer name of the limit of an answer."""


def body(request: Request, served: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON to post for one request to the model ``served``, its limit as ``max_tokens``, with
    the ``extra`` fields of a person's choice."""
    decoding = request.decoding
    made: dict[str, Any] = {
        "model": served,
        "messages": messages(request.prompt),
        "temperature": decoding.temperature,
    }
    if decoding.stop:
        made["stop"] = list(decoding.stop)
    return {**made, "max_tokens": decoding.max_new_tokens, **extra}


def spelled(body: Mapping[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """The body without the fields that the server has refused; the limit goes out under its other
    name where it has one left."""
    older, newer = LIMITS
    made = dict(body)
    if older in left_out and older in made:
        made.setdefault(newer, made[older])
    return {name: value for name, value in made.items() if name not in left_out}


def refused_field(refused: Refused, sent: Mapping[str, Any]) -> str | None:
    """The field of a request that a server does not take, where it says so and can do without.

    A server that cannot take as many tokens does not refuse the field.
    """
    said = refused.said
    if refused.status not in (400, 422) or refused.fate != "hopeless" or said.code == TOO_LONG:
        return None
    found = {}
    for field in ("temperature", "stop", *LIMITS):
        spoken = LIMITS if field in LIMITS else (field,)
        why = _UNKNOWN if field in LIMITS else _UNFIT
        places = [at for name in spoken if (at := _place(name, said)) is not None]
        if field in sent and places and why.search(f"{said.message} {said.code}"):
            found[field] = min(places)
    return min(found, key=found.__getitem__, default=None)


def answer(request: Request, reply: Reply, left_out: Collection[str]) -> Answer:
    """What a reply says, and what a reader of the log should know.

    A server cuts at a stop string; where it would not take them, that is done here.
    """
    text, finish = reply.text, reply.finish
    if "stop" in left_out:
        ends = [at for stop in request.decoding.stop if (at := text.find(stop)) >= 0]
        text, finish = (text[: min(ends)], "stop") if ends else (text, finish)
    notes = {
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        **reply.notes,
        "not_honoured": _not_honoured(request),
        "left_out": sorted(left_out),
    }
    return Answer(request.id, text, finish, notes={k: value for k, value in notes.items() if value})


_UNKNOWN = re.compile(
    "unsupported|not support|n't support|unrecognized|unknown|unexpected|not permitted"
    "|not allowed|forbidden|deprecated|no longer|instead",
    re.IGNORECASE,
)
_UNFIT = re.compile(
    f"{_UNKNOWN.pattern}|must be|at most|up to|too many|invalid|only", re.IGNORECASE
)
"""Why a field, or what it says, is refused."""


def _place(name: str, said: Said) -> int | None:
    """Where a message speaks of a field, not of the word in somebody's question."""
    if said.param:
        return 0 if said.param == name else None
    found = re.search(
        rf"""[`'"]{name}[`'"]|\b(parameter|field|argument|option|key)s?:? {name}\b"""
        rf"|\b{name}(:| (parameter|field|argument|is|does|must|may|should|supports)\b)"
        + (rf"|\b{name}\b" if "_" in name else ""),
        said.message,
        re.IGNORECASE,
    )
    return found.start() if found else None


def _not_honoured(request: Request) -> list[str]:
    decoding, plain = request.decoding, Decoding(max_new_tokens=1)
    wanted = [
        "num_beams",
        "min_new_tokens",
        "banned",
        *(["length_penalty"] * (decoding.num_beams > 1)),
    ]
    unheard = [name for name in wanted if getattr(decoding, name) != getattr(plain, name)]
    return [*unheard, *(["document"] * (request.prompt.document != Document()))]
