"""Several servers of one model: who is asked, and what happens when one is in trouble."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytest

from infimm_eval import models
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.openai.address import judges_key
from infimm_eval.types import Answer
from tests.models.test_openai import Place, fails, request, says, serving

NOBODY = "http://127.0.0.1:9/v1"


def ask(*addresses: str, count: int = 24, **options: Any) -> list[Answer]:
    chosen = {"wait": 0.01, "tries": 3, "concurrency": 3, **options}
    model = models.load("openai:m", base_url=",".join(addresses), **chosen)
    return list(model.generate([request(str(i)) for i in range(count)]))


def complete(answers: list[Answer], count: int = 24) -> bool:
    right = sorted(a.id for a in answers) == sorted(map(str, range(count)))
    return right and all(answer.finish == "stop" for answer in answers)


def quickly(n: int, body: Any) -> Any:
    return says("a")


def slowly(seconds: float) -> Any:
    return lambda n, body: time.sleep(seconds) or says("a")


def unknowing(n: int, body: Any) -> Any:
    return fails(404, "no such model")


@pytest.fixture
def two() -> Any:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(slowly(0.01))) for _ in range(2)]


def test_requests_are_shared_by_all_servers(two: list[Place]) -> None:
    assert complete(ask(*(place.url for place in two)))
    assert min(len(place.bodies) for place in two) >= 6
    assert max(place.most_at_once for place in two) <= 3 + 3


def test_the_quicker_server_answers_more() -> None:
    with serving(quickly) as quick, serving(slowly(0.1)) as slow:
        assert complete(ask(quick.url, slow.url, count=40), 40)
    assert len(quick.bodies) > len(slow.bodies) > 0


def test_a_server_that_is_not_there_costs_no_answer(two: list[Place]) -> None:
    assert complete(ask(NOBODY, two[0].url))


def test_a_server_that_asks_to_be_spared_is_asked_again_later() -> None:
    with (
        serving(lambda n, b: fails(503) if n < 3 else says("a")) as ailing,
        serving(slowly(0.02)) as well,
    ):
        assert complete(ask(ailing.url, well.url, count=60), 60)
    assert len(ailing.bodies) > 3


def test_a_server_that_does_not_know_the_model_is_left_out(two: list[Place]) -> None:
    with serving(unknowing) as stranger:
        assert complete(ask(stranger.url, two[0].url))
    assert len(stranger.bodies) <= 6


def test_where_no_server_knows_the_model_the_run_stops() -> None:
    stops = pytest.raises(UsageError, match="has no such model or address")
    with serving(unknowing) as one, serving(unknowing) as other, stops:
        ask(one.url, other.url)


@pytest.mark.slow
def test_where_nobody_is_there_the_run_stops() -> None:
    with pytest.raises(MachineryError, match="requests in a row were not answered"):
        ask(NOBODY, "http://127.0.0.1:10/v1")


def test_a_failure_of_one_request_is_not_carried_from_server_to_server(two: list[Place]) -> None:
    with serving(lambda n, b: fails(400, "too long")) as picky:
        (answer,) = ask(picky.url, two[0].url, count=1)
    assert answer.finish == "error" and len(picky.bodies) == 1 and not two[0].bodies


def test_the_order_of_addresses_makes_no_other_model(two: list[Place]) -> None:
    urls = [place.url for place in two]
    there, back = (
        models.load("openai:m", base_url=",".join(order)).settings for order in (urls, urls[::-1])
    )
    assert there == back != models.load("openai:m", base_url=urls[0]).settings


def test_one_address_is_the_model_that_it_always_was(two: list[Place]) -> None:
    url = two[0].url
    assert models.load("openai:m", base_url=f"{url},").settings["server"] == url


@pytest.mark.parametrize("text", [",", "http://127.0.0.1:8000/v1,nowhere"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not like http://127"):
        models.load("openai:m", base_url=text)


def test_a_judge_at_one_of_the_models_servers_has_the_models_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    both = "http://127.0.0.1:8000/v1,http://127.0.0.1:8001/v1"
    assert judges_key("http://127.0.0.1:8001/v1", both) == "OPENAI_API_KEY"
    assert judges_key("http://127.0.0.1:8002/v1", both) == "JUDGE_API_KEY"
    assert judges_key(None, both) == "OPENAI_API_KEY"
