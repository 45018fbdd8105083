"""While a server is down nobody asks it, however many would like to."""

from __future__ import annotations

import pytest

from infimm_eval.errors import MachineryError
from infimm_eval.models.openai.cooldown import Cooldown
from tests.models.test_openai import ask, fails, model, request, says, serving


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def about(seconds: float) -> tuple[float, float]:
    """What ``left`` may say of so many seconds."""
    return seconds * 0.999, seconds * 1.251


def test_failures_one_after_another_double_the_pause_up_to_its_limit() -> None:
    clock = Clock()
    cooldown = Cooldown(1.0, 6.0, clock)
    assert cooldown.left() == 0
    for seconds in (1, 2, 4, 6, 6):
        cooldown.failed(cooldown.round)
        low, high = about(seconds)
        assert low <= cooldown.left() <= high
        clock.now += seconds
        assert cooldown.left() == 0


def test_all_who_waited_for_one_pause_fail_as_one() -> None:
    clock = Clock()
    cooldown = Cooldown(1.0, 60.0, clock)
    for seconds in (1, 2, 4):
        rounds = [cooldown.round] * 8
        for mine in rounds:  # each comes back a little later than the one before
            clock.now += 0.001
            cooldown.failed(mine)
        low, high = about(seconds)
        assert low - 0.007 <= cooldown.left() <= high  # since the first came back
        clock.now += seconds


def test_an_answer_makes_the_next_pause_short_again() -> None:
    clock = Clock()
    cooldown = Cooldown(1.0, 60.0, clock)
    for _ in range(5):
        cooldown.failed(cooldown.round)
        clock.now += 100
    cooldown.answered()
    cooldown.failed(cooldown.round)
    assert cooldown.left() <= about(1.0)[1]


def test_what_the_server_asks_for_is_waited_out_in_full_and_no_longer_than_the_limit() -> None:
    clock = Clock()
    cooldown = Cooldown(1.0, 60.0, clock)
    cooldown.failed(cooldown.round, asked=7.0)
    assert 7.0 <= cooldown.left() <= about(7.0)[1]
    cooldown.failed(cooldown.round, asked=3600.0)
    assert 60.0 <= cooldown.left() <= about(60.0)[1]


@pytest.mark.slow
def test_a_dead_server_costs_about_as_many_rounds_as_a_request_has_tries() -> None:
    """However many ask it: each of 8 callers tries 4 times, in few more rounds and not in 32."""
    with serving(lambda *_: fails(502)) as place, pytest.raises(MachineryError):
        one = model(place, wait=0.1, tries=4)
        list(one.generate(request(str(i)) for i in range(50)))
    assert 4 <= one.server._cooldown.round <= 12


@pytest.mark.slow
@pytest.mark.parametrize("status", [502, 503, 429])
def test_a_server_that_never_answered_is_given_up_after_a_few_requests(status: int) -> None:
    asked = [request(str(i)) for i in range(200)]
    given_up = pytest.raises(MachineryError, match=f"8 requests in a row.*HTTP {status}")
    with serving(lambda *_: fails(status, "Bad gateway")) as place, given_up:
        ask(place, *asked, tries=3)
    assert len(place.bodies) <= 3 * (8 + 8)


def test_nobody_waits_for_another_callers_odd_question() -> None:
    def reply(turn: int, body: object):
        return fails(500, "odd") if "odd" in str(body) else says("ok")

    with serving(reply) as place:
        one = model(place, wait=0.2, tries=2)
        answers = list(one.generate([request("odd", "odd"), *(request(str(i)) for i in range(9))]))
    assert [a.finish for a in answers].count("error") == 1
    assert one.server._cooldown.left() == 0
