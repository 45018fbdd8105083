"""A server that misbehaves, on this machine, and the backend that has to live with it."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest
from PIL import Image as Pillow

from infimm_eval import models
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.openai.prompts import data_url, messages
from infimm_eval.types import Answer, Decoding, Image, Prompt, Request, Turn

Reply = tuple[int, Any, dict[str, str]]


@dataclass
class Place:
    url: str
    bodies: list[Any] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0


@contextmanager
def serving(reply: Callable[[int, Any], Reply]) -> Iterator[Place]:
    """A chat server whose n-th reply (from 0) to a body is ``reply(n, body)``."""
    lock, now = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                turn = len(place.bodies)
                place.bodies.append(body)
                place.headers.append(dict(self.headers))
                now[0] += 1
                place.most_at_once = max(place.most_at_once, now[0])
            status, said, headers = reply(turn, body)
            with lock:  # before the client has the answer: it may ask again at once
                now[0] -= 1
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(raw)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    place = Place(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(text: str, finish: str = "stop") -> Reply:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}, {}


def fails(status: int, message: str = "busy", **headers: str) -> Reply:
    return status, {"error": {"message": message}}, headers


def request(id: str = "1", question: Any = "what is it?", **decoding: Any) -> Request:
    content = question if isinstance(question, tuple) else (question,)
    decoding = {"max_new_tokens": 5, **decoding}
    return Request(id, Prompt("instruct", (Turn("user", content),)), Decoding(**decoding))


def model(place: Place, **options: Any) -> Any:
    return models.load("openai:m", base_url=place.url, **{"wait": 0.01, "tries": 3, **options})


def ask(place: Place, *requests: Request, **options: Any) -> list[Answer]:
    return list(model(place, **options).generate(requests or [request()]))


class Bytes(Image):
    name = key = "coco/1.png"

    def __init__(self, file: bytes | None) -> None:
        self.file = file

    def read(self) -> bytes:
        if self.file is None:
            raise OSError("gone")
        return self.file


def encoded(kind: str) -> bytes:
    out = BytesIO()
    Pillow.new("RGB", (2, 2), "red").save(out, kind)
    return out.getvalue()


def test_an_answer_comes_back_with_its_tokens():
    with serving(lambda *_: says("a dog")) as place:
        (answer,) = ask(place, request(num_beams=3, stop=("\n",), temperature=0.5))
    assert (answer.text, answer.finish) == ("a dog", "stop")
    assert answer.notes == {"tokens_in": 7, "tokens_out": 2, "not_honoured": ["num_beams"]}
    (body,) = place.bodies
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "what is it?"}],
        "max_tokens": 5,
        "temperature": 0.5,
        "stop": ["\n"],
    }


def test_a_cut_answer_is_marked_so():
    with serving(lambda *_: says("a do", "length")) as place:
        assert ask(place)[0].finish == "length"


def test_turns_and_pictures_keep_their_order():
    picture = Bytes(encoded("PNG"))
    turns = (
        Turn("user", (picture, "first", picture)),
        Turn("assistant", ("one",)),
        Turn("user", ("second",)),
    )
    system, shot, answer, query = messages(Prompt("instruct", turns, "be brief"))
    assert system == {"role": "system", "content": "be brief"}
    assert [part["type"] for part in shot["content"]] == ["image_url", "text", "image_url"]
    assert (answer["content"], query["content"]) == ("one", "second")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_format_that_servers_read_is_sent_as_it_is(kind):
    file = encoded(kind)
    head, _, data = data_url(Bytes(file)).partition(",")
    assert head == f"data:image/{kind.lower()};base64"
    assert b64decode(data) == file


def test_another_format_is_sent_as_png():
    head, _, data = data_url(Bytes(encoded("BMP"))).partition(",")
    assert head == "data:image/png;base64"
    with Pillow.open(BytesIO(b64decode(data))) as picture:
        assert picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("file", [None, b"not a picture"])
def test_an_unreadable_picture_is_the_failure_of_its_question_alone_and_named(file):
    with serving(lambda *_: says("x")) as place:
        asked = [request("1", (Bytes(file), "?")), request("2")]
        answers = {answer.id: answer for answer in ask(place, *asked)}
    assert answers["1"].finish == "error"
    assert "coco/1.png" in answers["1"].notes["error"]
    assert answers["1"].notes["final"] is True
    assert answers["2"].text == "x"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_passing_failure_is_tried_again(status):
    with serving(lambda n, _: says("ok") if n == 2 else fails(status)) as place:
        one = model(place)
        (answer,) = one.generate([request()])
    assert answer.text == "ok"
    assert one.statistics["retries"] == 2


def test_rubbish_and_cut_replies_are_tried_again():
    replies = [(200, b"<html>", {}), (200, b"{", {"Content-Length": "50"}), says("ok")]
    with serving(lambda n, _: replies[n]) as place:
        assert ask(place, timeout=0.3)[0].text == "ok"


def test_a_reply_without_choices_is_an_error_of_the_server():
    with serving(lambda *_: (200, {"object": "error"}, {})) as place:
        (answer,) = ask(place)
    assert answer.finish == "error"
    assert "without choices" in answer.notes["error"]


@pytest.mark.slow
def test_retry_after_is_waited_out():
    with serving(lambda n, _: says("ok") if n else fails(429, **{"Retry-After": "0.3"})) as place:
        started = time.perf_counter()
        assert ask(place)[0].text == "ok"
    assert time.perf_counter() - started > 0.3


@pytest.mark.slow
def test_retry_after_may_be_a_date():
    soon = formatdate(time.time() + 2, usegmt=True)
    with serving(lambda n, _: says("ok") if n else fails(503, **{"Retry-After": soon})) as place:
        started = time.perf_counter()
        assert ask(place)[0].text == "ok"
    assert time.perf_counter() - started > 0.5


def test_after_the_last_try_the_sample_is_left_without_an_answer():
    with serving(lambda *_: fails(500, "down")) as place:
        one = model(place)
        (answer,) = one.generate([request()])
    assert (answer.text, answer.finish) == ("", "error")
    assert "HTTP 500" in answer.notes["error"] and "3 tries" in answer.notes["error"]
    assert len(place.bodies) == 3
    assert one.statistics["errors"] == 1


def test_a_request_that_no_retry_mends_fails_alone_and_at_once():
    def reply(_: int, body: Any) -> Reply:
        return says("ok") if "fine" in str(body) else fails(400, "context length exceeded")

    with serving(reply) as place:
        answers = {a.id: a for a in ask(place, request("long"), request("short", "fine"))}
    assert answers["long"].finish == "error"
    assert "context length" in answers["long"].notes["error"]
    assert answers["short"].text == "ok"
    assert len(place.bodies) == 2


@pytest.mark.parametrize(("status", "message"), [(401, "OPENAI_API_KEY"), (404, "no such model")])
def test_a_wrong_key_or_name_stops_at_once(status, message):
    with serving(lambda *_: fails(status)) as place, pytest.raises(UsageError, match=message):
        ask(place)
    assert len(place.bodies) == 1


@pytest.mark.slow
def test_what_was_answered_beside_a_request_that_stops_the_run_is_kept():
    together = threading.Barrier(5)

    def reply(_: int, body: Any) -> Reply:
        together.wait(10)
        if "wrong" in str(body):
            return fails(401)
        if "busy" in str(body):
            return fails(503)
        if "late" in str(body):
            time.sleep(0.3)
        return says("ok")

    said = ["wrong", "fine", "busy", "fine", "late"]
    kept = []
    with serving(reply) as place:
        found = model(place, wait=60).generate(request(str(i), q) for i, q in enumerate(said))
        with pytest.raises(UsageError, match="OPENAI_API_KEY"):
            kept.extend(found)
    assert sorted((a.id, a.text) for a in kept) == [("1", "ok"), ("3", "ok"), ("4", "ok")]


def test_half_a_surrogate_pair_is_replaced_on_its_way_in():
    raw = (
        rb'{"model": "m\ude00", "choices": [{"message": {"content": "dog \ud83d, \ud83d\ude00"}}]}'
    )
    with serving(lambda *_: (200, raw, {})) as place:
        (answer,) = ask(place)
    assert answer.text == "dog \ufffd, \U0001f600"
    assert answer.notes["served"] == "m\ufffd"


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(lambda *_: fails(401, "wrong key sk-secret")) as place:
        one = model(place)
        with pytest.raises(UsageError) as caught:
            list(one.generate([request()]))
    assert place.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in f"{caught.value} {one.settings} {one.server!r}"


def test_a_redirect_is_not_followed_with_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with serving(lambda *_: says("stolen")) as thief:
        away = {"Location": f"{thief.url}/chat/completions"}
        with (
            serving(lambda *_: (302, {}, away)) as place,
            pytest.raises(UsageError, match="no such model or address"),
        ):
            ask(place)
    assert thief.bodies == []


def test_the_newer_name_of_the_token_limit_is_learned_once():
    def reply(_: int, body: Any) -> Reply:
        known = "max_completion_tokens" in body
        return says("ok") if known else fails(400, "use 'max_completion_tokens' instead")

    with serving(reply) as place:
        answers = ask(place, request("1"), request("2"), concurrency=1)
    assert [a.text for a in answers] == ["ok", "ok"]
    assert [("max_tokens" in body) for body in place.bodies] == [True, False, False]


def test_requests_run_side_by_side_and_are_read_as_they_are_sent():
    def slow(_: int, __: Any) -> Reply:
        time.sleep(0.05)
        return says("ok")

    read = []

    def reading() -> Iterator[Request]:
        for i in range(12):
            read.append(i)
            yield request(str(i))

    with serving(slow) as place:
        answers = model(place, batch_size=4).generate(reading())
        next(answers)
        assert len(read) <= 4
        assert sorted(int(a.id) for a in answers) != []
    assert 1 < place.most_at_once <= 4
    assert len(place.bodies) == 12


def test_leaving_early_does_not_wait_for_back_off():
    with serving(lambda _, body: says("ok") if "fine" in str(body) else fails(500)) as place:
        answers = model(place, wait=30, tries=9).generate([request("1"), request("2", "fine")])
        assert next(answers).text == "ok"
        started = time.perf_counter()
        answers.close()
    assert time.perf_counter() - started < 5


def test_a_server_that_is_not_there_stops_the_run():
    with serving(lambda *_: says("x")) as place:
        pass
    many = [request(str(i)) for i in range(20)]
    with pytest.raises(MachineryError, match="not answered"):
        ask(place, *many, tries=1)


def test_ranking_is_refused_with_what_would_work():
    with serving(lambda *_: says("x")) as place, pytest.raises(UsageError, match="--choice"):
        model(place).rank([request()])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"base_url": "localhost:8000"}, "is not like"),
        ({"base_url": "http://me:pw@127.0.0.1/v1"}, "OPENAI_API_KEY"),
        ({"base_url": "http://127.0.0.1/v1", "device": "cuda"}, "--device"),
        ({"base_url": "http://127.0.0.1/v1", "revision": "main"}, "revision"),
    ],
)
def test_a_choice_that_cannot_be_honoured_is_refused(choices, message):
    with pytest.raises(UsageError, match=message):
        models.load("openai:m", **choices)
