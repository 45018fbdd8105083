"""A request as a chat endpoint takes it, and its reply as an answer.

Sends nothing; how prompts are written is the formatter's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infimm_eval.models.openai.prompts import messages
from infimm_eval.types import Answer, Decoding, Request


def body(request: Request, served: str) -> dict[str, Any]:
    """The JSON to post for one request to the model ``served``, its limit as ``max_tokens``."""
    decoding = request.decoding
    made: dict[str, Any] = {
        "model": served,
        "messages": messages(request.prompt),
        "temperature": decoding.temperature,
    }
    if decoding.stop:
        made["stop"] = list(decoding.stop)
    return made | {"max_tokens": decoding.max_new_tokens}


def answer(request: Request, reply: Mapping[str, Any]) -> Answer:
    """What the first choice of a reply says, and what a reader of the log should know."""
    choice = reply["choices"][0]
    said = choice.get("message") or {}
    usage = reply.get("usage") or {}
    notes = {
        "tokens_in": usage.get("prompt_tokens"),
        "tokens_out": usage.get("completion_tokens"),
        "served": reply.get("model"),
        "system_fingerprint": reply.get("system_fingerprint"),
        "refusal": said.get("refusal"),
        "not_honoured": _not_honoured(request.decoding),
    }
    return Answer(
        request.id,
        said.get("content") or "",
        "length" if choice.get("finish_reason") == "length" else "stop",
        notes={key: value for key, value in notes.items() if value},
    )


def _not_honoured(decoding: Decoding) -> list[str]:
    plain = Decoding(max_new_tokens=1)
    wanted = ["num_beams", "min_new_tokens", *(["length_penalty"] * (decoding.num_beams > 1))]
    return [name for name in wanted if getattr(decoding, name) != getattr(plain, name)]
