"""A chat completion in whatever shape it comes, read into one.

Knows nothing of requests; what it cannot read is a failure, never an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from infimm_eval.models.openai.refusals import Refused, Said, one_line, refused, shortened

Object: TypeAlias = Mapping[str, Any]

_CUT = frozenset({"length", "max_tokens", "model_length"})
_BROKEN = frozenset({"error", "abort"})
_FILTERED = frozenset({"content_filter", "safety", "sensitive"})
"""Reasons for an end, as servers of different makers call them."""

_SAID = frozenset({"text", "output_text"})
_THOUGHT = frozenset({"thinking", "reasoning", "reasoning_content", "redacted_thinking"})
"""Types of the parts that a content may be made of."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said, without its thoughts, and how it ended."""

    text: str
    finish: Literal["stop", "length"]
    tokens_in: int = 0
    tokens_out: int = 0
    notes: Object = field(default_factory=dict)
    """What else is known of it: ``reasoning`` (the thoughts that came apart from the text),
    ``reasoning_tokens``, ``refusal``, ``served``, ``system_fingerprint``."""


def read(parsed: Any) -> Reply:
    """The first choice of a parsed reply.

    ``Refused`` where the server reports a failure as if it were an answer, where a filter keeps
    the answer back, and for every shape that is not that of a chat completion.
    """
    reply = _object(parsed, "the reply")
    choice = _choice(reply)
    finish = _finish(choice)
    usage = _object(_or(reply, "usage", {}), "usage")
    message = _object(choice.get("message"), "message")
    said, thoughts = _content(message)
    reasoning = thoughts or _apart(message)
    if "content" not in message and not (reasoning or _text(message, "refusal")):
        raise _unreadable("the server answered without content")
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    notes = {
        "served": _text(reply, "model"),
        "system_fingerprint": _text(reply, "system_fingerprint"),
        "refusal": _text(message, "refusal"),
        "reasoning": reasoning,
        "reasoning_tokens": _reasoning_tokens(usage),
    }
    found = {name: value for name, value in notes.items() if value}
    return Reply(said, finish, tokens_in, tokens_out, found)


def _choice(reply: Object) -> Object:
    choices = reply.get("choices")
    if not choices:
        if reply.get("error"):
            raise _reported(reply)
        raise _unreadable("the server answered without choices")
    if not isinstance(choices, list):
        raise _unreadable(f"the server answered with choices as {_kind(choices)}")
    return _object(choices[0], "a choice")


def _finish(choice: Object) -> Literal["stop", "length"]:
    """How the answer ended, where it did not fail."""
    reason = choice.get("finish_reason")
    if reason is not None and not isinstance(reason, str):
        raise _unreadable(f"the server answered with finish_reason as {_kind(reason)}")
    reason = (reason or "stop").lower()
    if reason in _FILTERED:
        kept_back = "content_filter: the server kept the answer back"
        raise Refused(200, Said(kept_back, "content_filter"), "filtered")
    if reason in _BROKEN or choice.get("error"):
        raise _reported(choice)
    return "length" if reason in _CUT else "stop"


def _reported(reply: Object) -> Refused:
    """A failure that came with status 200; its own code may say which it was."""
    error = reply.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    status = code if type(code) is int and 400 <= code < 600 else 200
    failure = refused(status, {"error": error})
    said = replace(failure.said, message=f"the server reports an error: {failure.said.message}")
    return Refused(200, said, "odd" if failure.fate == "busy" else failure.fate)


def _content(message: Object) -> tuple[str, str]:
    """What is said and what is thought in a message's content: a text, parts, or nothing."""
    content = message.get("content")
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise _unreadable(f"the server answered with content as {_kind(content)}")
    parts = list(_parts(content))
    said = "".join(text for kind, text in parts if kind == "said")
    return said, "".join(text for kind, text in parts if kind == "thought")


def _parts(content: list[Any]) -> Iterator[tuple[Literal["said", "thought"], str]]:
    for part in content:
        if isinstance(part, str):
            yield "said", part
            continue
        of = _object(part, "a part of the content")
        kind = of.get("type", "text")
        if isinstance(kind, str) and kind in _THOUGHT:
            yield "thought", _spoken([of.get(name) for name in ("thinking", "text", "reasoning")])
        elif isinstance(kind, str) and kind in _SAID and isinstance(of.get("text"), str):
            yield "said", of["text"]
        else:
            raise _unreadable("the server answered with a part of the content that is no text")


def _apart(message: Object) -> str:
    """Thoughts that stand beside the content, under either of their names."""
    return _spoken(message.get("reasoning_content")) or _spoken(message.get("reasoning"))


def _spoken(value: object) -> str:
    """All text in thoughts of any shape: they are kept, and never scored."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_spoken(item) for item in value)
    return _spoken(value.get("text")) if isinstance(value, dict) else ""


def _count(usage: Object, name: str) -> int:
    count = _or(usage, name, 0)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < 2**53:
        raise _unreadable(f"the server answered with {name} that is no count")
    return count


def _reasoning_tokens(usage: Object) -> int:
    details = usage.get("completion_tokens_details")
    count = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return count if type(count) is int and 0 <= count < 2**53 else 0


def _text(of: Object, name: str) -> str:
    """What decorates an answer is left out where it is no text."""
    value = of.get(name)
    if not isinstance(value, str):
        return ""
    return value if name == "refusal" else shortened(one_line(value), 200)


def _or(of: Object, name: str, default: Any) -> Any:
    value = of.get(name)
    return default if value is None else value


def _object(value: Any, name: str) -> Object:
    if not isinstance(value, dict):
        raise _unreadable(f"the server answered with {name} as {_kind(value)}")
    return value


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    return kinds.get(type(value), "nothing" if value is None else "a number")


def _unreadable(message: str) -> Refused:
    return Refused(200, message, "unreadable")
