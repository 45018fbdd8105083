"""Addresses, keys, proxies and deadlines of served models, on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server, socket
from typing import Any

import pytest

from infimm_eval import models
from infimm_eval.cli import main
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.openai.address import Address
from infimm_eval.run.evaluate import load_judge
from tests.models.test_openai import Place, ask, fails, model, request, says, serving

SECRET = "sk-SECRET-0123456789"


@contextmanager
def talking(talk: Callable[[socket, bytes], None]) -> Iterator[str]:
    """The address of a server that treats every connection with ``talk``."""
    with create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()
        listening.settimeout(0.02)
        talks: list[threading.Thread] = []

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                talks.append(threading.Thread(target=answer, args=(connection,)))
                talks[-1].start()

        def answer(connection: socket) -> None:
            with connection:
                try:
                    talk(connection, connection.recv(100_000))
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            over.set()
            for one in (thread, *talks):
                one.join()


def dripping(start: bytes, drop: bytes) -> Callable[[socket, bytes], None]:
    def talk(connection: socket, _: bytes) -> None:
        connection.sendall(start)
        for _ in range(40):
            time.sleep(0.05)
            connection.sendall(drop)

    return talk


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{", b" "),
        (b"HTTP/1.1 200 OK\r\n\r\n{", b" "),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 500 Bad\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b""),
    ],
    ids=["body", "endless body", "headers", "failure", "continue", "silence"],
)
def test_one_deadline_holds_for_a_whole_reply(start, drop):
    with talking(dripping(start, drop)) as url:
        started = time.perf_counter()
        one = models.load("openai:m", base_url=url, timeout=0.3, wait=0.01)
        (answer,) = one.generate([request()])
        took = time.perf_counter() - started
    assert answer.finish == "error"
    assert answer.notes["error"] == "no whole reply within 0.3 s (after 2 tries)"
    assert took < 1.5


def test_leaving_does_not_wait_for_a_server_that_hangs():
    def talk(connection: socket, asked: bytes) -> None:
        if b"fine" in asked or b"fine" in connection.recv(100_000):
            body = json.dumps(says("ok")[1]).encode()
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        else:
            connection.settimeout(60)
            connection.recv(1)  # until the other side hangs up

    with talking(talk) as url:
        one = models.load("openai:m", base_url=url, batch_size=2)
        answers = one.generate([request("1"), request("2", "fine"), request("3")])
        assert next(answers).text == "ok"
        started = time.perf_counter()
        one.close()
        assert time.perf_counter() - started < 5


def test_a_server_that_reads_no_further_is_heard_all_the_same():
    def talk(connection: socket, _: bytes) -> None:
        connection.sendall(b'HTTP/1.1 413 Big\r\nContent-Length: 18\r\n\r\n{"error":"too big"')

    with talking(talk) as url:
        one = models.load("openai:m", base_url=url)
        (answer,) = one.generate([request(question="x" * 3_000_000)])
    assert answer.finish == "error"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_a_deadline_that_is_none_is_refused(timeout):
    with pytest.raises(UsageError, match="timeout"):
        models.load("openai:m", base_url="http://127.0.0.1:9/v1", timeout=timeout)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::1]", "0.0.0.0"])
def test_this_machine_is_never_asked_through_a_proxy(monkeypatch, host):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert Address.of(f"http://{host}:8000/v1", "--base-url").proxy is None
    assert Address.of("http://example.invalid/v1", "--base-url").proxy


def test_requests_to_this_machine_arrive_although_there_is_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(lambda *_: says("ok")) as place:
        assert ask(place)[0].text == "ok"


def test_a_proxy_is_used_and_named_without_its_password(monkeypatch):
    said = [fails(500, "down"), says("ok")]
    with serving(lambda n, _: said[n]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:pw-secret@"))
        one = models.load("openai:m", base_url="http://example.invalid/v1?api-version=1", tries=1)
        first, second = (next(one.generate([request()])) for _ in range(2))
    named = proxy.url.removeprefix("http://").removesuffix("/v1")
    assert first.notes["error"] == f"HTTP 500 through the proxy {named}: down"
    assert second.text == "ok"
    assert proxy.headers[0]["Host"] == "example.invalid:80"
    assert proxy.headers[0]["Proxy-Authorization"].startswith("Basic ")


@pytest.mark.slow
def test_a_proxy_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    one = models.load("openai:m", base_url="https://example.invalid/v1", wait=0.01)
    (answer,) = one.generate([request()])
    assert "through the proxy 127.0.0.1:9" in answer.notes["error"]


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "http://", "http://[::1", "http://h:x"])
def test_a_proxy_that_speaks_no_http_is_refused(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(UsageError, match="HTTP_PROXY"):
        models.load("openai:m", base_url="http://example.invalid/v1")


@pytest.mark.parametrize(
    ("written", "url", "target"),
    [
        ("http://h/v1", "http://h/v1", "/v1/chat/completions"),
        (" http://h/v1/ ", "http://h/v1", "/v1/chat/completions"),
        ("http://h", "http://h", "/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1", "/v1/chat/completions"),
        (
            "https://h/openai/deployments/d?api-version=2024-06-01",
            "https://h/openai/deployments/d?api-version=2024-06-01",
            "/openai/deployments/d/chat/completions?api-version=2024-06-01",
        ),
        (
            "https://h/d/chat/completions?api-version=1&x=%2F",
            "https://h/d?api-version=1&x=%2F",
            "/d/chat/completions?api-version=1&x=%2F",
        ),
    ],
)
def test_a_path_is_joined_before_the_query(written, url, target):
    address = Address.of(written, "--base-url")
    assert (address.url, address.target("chat/completions")) == (url, target)


def test_an_address_with_a_version_takes_its_key_as_azure_does(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving(lambda *_: says("ok")) as place:
        one = models.load("openai:m", base_url=f"{place.url}?api-version=2024-06-01")
        assert next(one.generate([request()])).text == "ok"
    headers = {name.lower(): value for name, value in place.headers[0].items()}
    assert headers["api-key"] == SECRET
    assert "authorization" not in headers


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://h/v1",
        "http://",
        "http:///v1",
        "http://h:99999/v1",
        "http://h:x/v1",
        "http://[::1/v1",
        "http://a b/v1",
        "http://a\nb/v1",
        "http://a..b/v1",
        "http://h/v1#part",
        "http://me:sk-SECRET-0123456789@h/v1",
        "me:sk-SECRET-0123456789@h/v1",
        "http://me%3Ask-SECRET-0123456789%40h/v1",
        "http://h/v1?api_key=sk-SECRET-0123456789",
        "h/v1?token=sk-SECRET-0123456789",
        "http://h/sk-SECRET-0123456789/v1",
    ],
)
def test_an_address_is_refused_in_one_line_that_shows_no_secret(monkeypatch, url):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with pytest.raises(UsageError) as caught:
        models.load("openai:m", base_url=url)
    said = str(caught.value)
    assert "SECRET" not in said
    assert said.isprintable()
    assert "--base-url" in said or "OPENAI_API_KEY" in said


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", "  {}\t", "\n{}"])
def test_white_space_around_a_key_is_taken_off(monkeypatch, around):
    monkeypatch.setenv("OPENAI_API_KEY", around.format(SECRET))
    with serving(lambda *_: says("ok")) as place:
        ask(place)
    assert place.headers[0]["Authorization"] == f"Bearer {SECRET}"


KEYS = ["sk-SEC\nRET", "\u201csk-SECRET\u201d", "sk SECRET", "sk-SECRET\x7f", "sk-SECRET\u00e9"]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_no_header_holds_is_refused_unseen_before_anything_is_sent(
    monkeypatch, capsys, key
):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving(lambda *_: says("ok")) as place:
        code = main(["run", "--model", "openai:m", "--base-url", place.url, "--tasks", "mme"])
    shown = "".join(capsys.readouterr())
    assert (code, place.bodies) == (2, [])
    assert "OPENAI_API_KEY" in shown and len(shown.splitlines()) == 1
    assert "RET" not in shown


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.slow
def test_a_key_that_comes_back_is_stored_and_shown_nowhere(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)

    def echo(n: int, _: Any) -> Any:
        if n % 2:
            return fails(400, f"the key {SECRET} is wrong")
        return 200, {**says(f"yes, {SECRET}")[1], "model": SECRET, SECRET: 1}, {}

    where = ["--tasks", "mme", "--data", "demo", "--limit", "6", "--output", str(tmp_path)]
    with serving(echo) as place:
        served = ["--model", "openai:m", "--base-url", place.url, "--batch-size", "1"]
        assert main(["run", *served, *where]) == 3
    assert "SECRET" not in "".join(capsys.readouterr())
    assert b"SECRET" not in everything_in(tmp_path)
    assert b"[key]" in everything_in(tmp_path)
    assert len(place.bodies) == 6


@pytest.mark.parametrize("key", ["EMPTY", "1", "none"])
def test_a_placeholder_for_a_key_is_no_secret_in_an_answer(monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving(lambda *_: says(f"it says {key}")) as place:
        assert ask(place)[0].text == f"it says {key}"


def asked_with(place: Place, judge: Any) -> str | None:
    list(judge.generate([request()]))
    return place.headers[-1].get("Authorization")


def test_a_judge_has_an_address_and_a_key_of_its_own(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-models")
    monkeypatch.setenv("JUDGE_API_KEY", "sk-the-judges\n")
    with serving(lambda *_: says("1")) as home, serving(lambda *_: says("1")) as away:
        judge = load_judge(
            {"judge": "openai:j", "base_url": home.url, "judge_base_url": away.url, "timeout": 5.0}
        )
        assert asked_with(away, judge) == "Bearer sk-the-judges"
        assert asked_with(home, model(home)) == "Bearer sk-the-models"
    assert len(home.bodies) == len(away.bodies) == 1


def test_the_models_key_goes_to_no_other_host(monkeypatch):
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-models")
    with serving(lambda *_: says("1")) as home, serving(lambda *_: says("1")) as away:
        options: Any = {"judge": "openai:j", "base_url": home.url}
        assert asked_with(home, load_judge(options)) == "Bearer sk-the-models"
        assert asked_with(home, load_judge({**options, "judge_base_url": home.url})) == (
            "Bearer sk-the-models"
        )
        assert asked_with(away, load_judge({**options, "judge_base_url": away.url})) is None
        monkeypatch.setenv("OPENAI_BASE_URL", home.url)
        assert (
            asked_with(away, load_judge({"judge": "openai:j", "judge_base_url": away.url})) is None
        )


def test_a_judge_that_wants_a_key_names_its_variable(monkeypatch):
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    with serving(lambda *_: fails(401, "who are you?")) as away:
        judge: Any = load_judge({"judge": "openai:j", "judge_base_url": away.url})
        with pytest.raises(UsageError, match="set JUDGE_API_KEY"):
            list(judge.generate([request()]))


def test_an_odd_address_of_a_judge_is_named_as_such():
    with pytest.raises(UsageError, match="--judge-base-url"):
        load_judge({"judge": "openai:j", "judge_base_url": "judge:80"})


def test_a_deadline_is_refused_where_nothing_is_served(capsys):
    assert main(["run", "--model", "fake", "--tasks", "mme", "--timeout", "5"]) == 2
    assert "--timeout" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_that_is_not_there_is_named_with_the_reason():
    with talking(lambda *_: None) as url:
        pass
    many = [request(str(i)) for i in range(20)]
    with pytest.raises(MachineryError, match="Connection refused"):
        list(models.load("openai:m", base_url=url, tries=1).generate(many))


@pytest.mark.parametrize(
    "talk",
    [
        rb"HTTP/1.1 400 Bad" + b'\r\n\r\n{"error": {"message": "sk\\u002dSECRET-0123456789 no"}}',
        b"HTTP/1.1 400 Bad\r\n\r\nsk-SECRET-0123456789 no",
        b"sk-SECRET-0123456789 is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nsk-SECRET-0123456789",
        b'HTTP/1.1 200 OK\r\n\r\n{"error": "sk-SECRET-0123456789"}',
    ],
)
def test_a_key_in_a_failure_of_any_kind_is_not_shown(monkeypatch, talk):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with talking(lambda connection, _: connection.sendall(talk)) as url:
        one = models.load("openai:m", base_url=url, wait=0.0)
        (answer,) = one.generate([request()])
    assert answer.finish == "error"
    assert "SECRET" not in str(answer)
