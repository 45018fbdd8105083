"""Who gets which requests: rules without Ray, a clock or a process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest

from infimm_eval.types import Answer, Decoding, Prompt, Request, Turn
from infimm_eval.workers.calls import FIRST, Call, Pace
from tests.workers.asked import requests


def call_of(asked: Iterable[Request], *, seconds: float = 1.0, most: int = 16) -> Call:
    return Call(1, "generate", iter(asked), Pace(seconds, most), Counter())


def said(asked: Sequence[Request], text: str = "x") -> list[Answer]:
    return [Answer(request.id, text) for request in asked]


def plain(count: int) -> list[Request]:
    prompt = Prompt("completion", (Turn("user", ("?",)),))
    return [Request(str(i), prompt, Decoding(max_new_tokens=5)) for i in range(count)]


def test_every_request_is_given_to_one_worker_once() -> None:
    call, got = call_of(requests()), []
    call.workers([0, 1, 2])
    while not call.over:
        for number in (0, 1, 2):
            lease = call.lease(number, idle=True)
            got += [answer.id for answer in call.answered(said(lease))]
    assert sorted(got) == sorted(request.id for request in requests())


def test_a_poisonous_question_costs_three_workers_and_no_other_answer() -> None:
    call, got, deaths = call_of(requests()), [], 0
    poison = requests()[30].id
    call.workers([0, 1])
    while not call.over:
        for number in (0, 1):
            suspect = call.suspect()
            lease = [suspect] if suspect else call.lease(number, idle=True)
            if any(request.id == poison for request in lease):
                deaths += 1
                call.lost(lease, "it died")
            else:
                got += call.answered(said(lease))
        got += call.given_up()
    assert deaths == 3
    assert sorted(a.id for a in got) == sorted(r.id for r in requests())
    (error,) = [answer for answer in got if answer.finish == "error"]
    assert error.id == poison and "2 workers were lost" in error.notes["error"]


def test_a_worker_that_dies_with_its_node_makes_nothing_suspect() -> None:
    call = call_of(requests()[:20])
    call.workers([0])
    lease = call.lease(0, idle=True)
    call.back(lease)
    assert call.suspect() is None
    assert {r.id for r in call.lease(0, idle=True)} <= {r.id for r in lease}


def test_of_two_answers_the_first_counts_and_a_late_one_that_differs_is_counted() -> None:
    call = call_of(requests()[:4])
    call.workers([0])
    slow: list[Request] = []
    while lease := call.lease(0, idle=True):
        slow += lease
    twin = call.double(slow)
    assert twin == slow and call.double(slow) == []
    assert len(call.answered(said(twin))) == 4
    assert call.answered([*said(slow[:3], "y"), *said(slow[3:])]) == []
    assert call.counts["doubled"] == 4 and call.counts["differing"] == 3
    assert call.over


def test_the_questions_of_a_picture_go_to_one_worker() -> None:
    asked = requests(200)
    call, home = call_of(asked, most=8), {}
    call.workers([0, 1, 2])
    while not call.dry:
        for number in (0, 1, 2):
            for request in call.lease(number, idle=False):
                home.setdefault(request.prompt.turns[-1].content, set()).add(number)
                call.answered(said([request]))
    assert home and all(len(numbers) == 1 for numbers in home.values())


def test_who_has_nothing_takes_from_who_has_most() -> None:
    call = call_of(requests()[:30], most=30)
    call.workers([0, 1])
    taken = call.lease(0, idle=False)
    while lease := call.lease(0, idle=True):
        taken += lease
    assert len(taken) == 30 and call.counts["stolen"] > 0


def test_what_waits_survives_that_nobody_is_left() -> None:
    call = call_of(requests()[:10])
    call.workers([0, 1])
    call.lease(0, idle=True)
    call.workers([])
    call.workers([7])
    left = []
    while lease := call.lease(7, idle=True):
        left += lease
    assert not call.over and left


@pytest.mark.parametrize(("each", "size"), [(0.1, 10), (0.001, 16), (5.0, 1)])
def test_a_lease_is_as_many_as_take_a_given_time(each: float, size: int) -> None:
    pace, (first, *_) = Pace(1.0, 16), plain(1)
    assert pace.size("generate", first) == FIRST
    pace.saw("generate", [first], each)
    assert pace.size("generate", first) == size


def test_small_leases_bring_no_smaller_stock() -> None:
    pace, (first, *_) = Pace(1.0, 4), plain(1)
    pace.saw("generate", [first], 0.01)
    assert (pace.size("generate", first), pace.stock("generate", first)) == (4, 100)


def test_leases_shrink_towards_the_end() -> None:
    call = call_of(plain(64), seconds=100, most=64)
    call.pace.saw("generate", plain(1), 0.1)
    call.workers([0, 1])
    sizes = []
    while lease := call.lease(0, idle=True):
        sizes.append(len(lease))
    assert sum(sizes) == 64 and sizes[0] > 8 and max(sizes[-3:]) <= 2


def test_requests_are_read_only_as_they_are_needed() -> None:
    drawn = []
    call = call_of((drawn.append(r) or r for r in plain(10_000)), most=16)
    call.workers([0, 1])
    call.lease(0, idle=True)
    assert len(drawn) < 500


def test_a_question_that_was_answered_meanwhile_is_no_longer_suspected() -> None:
    call = call_of(requests()[:4])
    call.workers([0])
    lease = call.lease(0, idle=True)
    call.lost(lease, "it died")
    assert call.suspected
    call.answered(said(lease))
    assert not call.suspected and call.suspect() is None
