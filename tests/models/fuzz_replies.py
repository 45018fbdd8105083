"""Replies of a chat server, mutated: none may end in a traceback or keep a run waiting.

``python -m tests.models.fuzz_replies 2000`` tries more of them than the tests do.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http import HTTPStatus
from socket import create_server
from typing import Any

from infimm_eval import models
from infimm_eval.errors import InfimmEvalError
from infimm_eval.types import Decoding, Prompt, Request, Turn

SECONDS = 10.0
"""No reply may take longer."""

SOUND = {
    "id": "chatcmpl-1",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "text", "text": "yes"},
                ],
                "reasoning_content": "hm",
                "refusal": None,
            },
            "finish_reason": "stop",
            "error": None,
        }
    ],
    "usage": {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
    "error": None,
}
ODDITIES = (
    *(None, True, 0, -1, 1.5, float("nan"), 10**30, "", "x", "\ud800", "\x00\x1b[2J", "error"),
    *([], {}, [None], [[]], {"message": None}, {"code": 429, "message": 7}, {"text": ["x"]}),
    *("content_filter", "length", "a" * 5000, [{"type": "text", "text": None}], {"type": {}}),
)
STATUSES = (*[200] * 30, 100, 204, 302, 400, 403, 404, 407, 413, 418, 422, 429, 500, 503, 599, 999)


def fuzz(count: int, seed: int) -> Counter[str]:
    """How ``count`` mutated replies ended; AssertionError for one that ended badly."""
    ends: Counter[str] = Counter()
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        raw = mutated(dice)
        began = time.monotonic()
        with replying(raw) as url:
            ends[_end(url, f"reply {number} of seed {seed}: {raw[:300]!r}")] += 1
        assert time.monotonic() - began < SECONDS, f"reply {number} of seed {seed} took too long"
    return ends


def _end(url: str, told: str) -> str:
    options = {"wait": 0.0, "tries": 2, "timeout": 0.5}
    prompt = Prompt("instruct", (Turn("user", ("what?",)),))
    asked = Request("1", prompt, Decoding(max_new_tokens=5))
    try:
        (answer,) = models.load("openai:m", base_url=url, **options).generate([asked])
    except InfimmEvalError as error:
        assert len(str(error).splitlines()) == 1, told
        return type(error).__name__
    assert answer.id == "1" and isinstance(answer.text, str), told
    json.dumps(dict(answer.notes), allow_nan=False, ensure_ascii=False).encode()
    answer.text.encode()
    if answer.finish == "error":
        line = answer.notes["error"]
        assert line and line.isprintable() and len(line) <= 200, told
    return answer.finish


def mutated(dice: random.Random) -> bytes:
    """A whole reply, head and body, with a few things changed in it."""
    parsed = deepcopy(SOUND)
    for _ in range(dice.choice((0, 1, 1, 2, 5))):
        _change(parsed, dice)
    body = json.dumps(dice.choice((*[parsed] * 4, [parsed], parsed.get("choices")))).encode()
    if dice.random() < 0.25:
        body = _damaged(body, dice)
    status = dice.choice(STATUSES)
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Odd"
    length = len(body) if dice.random() < 0.9 else dice.choice((0, 3, 10**6, -1, 10**30))
    framed = dice.choice((*[f"Content-Length: {length}"] * 8, "Transfer-Encoding: chunked", "Y: z"))
    head = [f"HTTP/1.1 {status} {phrase}", "Content-Type: application/json", framed]
    head += dice.sample(["Retry-After: x", "Retry-After: nan", "Location: /", "X: \xff"], 1)
    raw = "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
    return _damaged(raw, dice) if dice.random() < 0.1 else raw


def _change(parsed: Any, dice: random.Random) -> None:
    """One value somewhere in it becomes another, goes, or doubles."""
    holders = [holder for holder in _holders(parsed) if holder]
    if not holders:
        return
    holder = dice.choice(holders)
    place = dice.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match dice.randrange(4):
        case 0:
            del holder[place]
        case 1 if isinstance(holder, list):
            holder.append(holder[place])
        case 2:
            holder[place] = [holder[place]]
        case _:
            holder[place] = deepcopy(dice.choice(ODDITIES))


def _holders(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def _damaged(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(max(1, len(raw)))
    match dice.randrange(4):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + dice.randbytes(dice.randrange(1, 9)) + raw[at:]
        case 2:
            return raw[:at] + b"[" * 20_000 + raw[at:]
        case _:
            return b"9" * 5000 + raw[at:]


@contextmanager
def replying(raw: bytes) -> Iterator[str]:
    """The address of a server that says ``raw`` to everybody, whatever that is."""
    with create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()
        listening.settimeout(0.02)
        thread = threading.Thread(target=_reply, args=(listening, raw, over))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            over.set()
            thread.join()


def _reply(listening: Any, raw: bytes, over: threading.Event) -> None:
    while not over.is_set():
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(1)
            try:
                connection.recv(100_000)
                connection.sendall(raw)
            except OSError:
                continue


if __name__ == "__main__":
    print(dict(fuzz(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
