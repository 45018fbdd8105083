"""A model that is fed: answers, errors, what is given back; without Ray."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from threading import Event

import pytest

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import Answer, Request
from infimm_eval.workers.serving import Collected, Serving
from tests.workers.asked import requests


def serving(model: Fake) -> Serving:
    found = Serving(lambda: model)
    found.start()
    return found


def everything(found: Serving, count: int) -> list[tuple[int, Answer]]:
    answers: list[tuple[int, Answer]] = []
    while len(answers) < count:
        answers += found.collect(0, 0.05, more=True).answers
    return answers


def test_answers_are_those_of_the_model_alone() -> None:
    found = serving(Fake())
    found.feed(1, "generate", requests())
    wanted = {answer.id: answer.text for answer in Fake().generate(requests())}
    assert {a.id: a.text for _, a in everything(found, len(wanted))} == wanted


@pytest.mark.slow
def test_a_model_gets_the_next_requests_before_it_has_answered_the_last() -> None:
    class Batches(Fake):
        calls = 0

        def generate(self, asked: Iterable[Request]) -> Iterator[Answer]:
            self.calls += 1
            held: list[Request] = []
            for request in asked:
                held.append(request)
                if len(held) == 8:
                    time.sleep(0.02)
                    yield from super().generate(held)
                    held = []
            yield from super().generate(held)

    model = Batches()
    found = serving(model)
    for start in range(0, 60, 12):
        found.feed(1, "generate", requests()[start : start + 12])
    assert len(everything(found, 60)) == 60
    assert model.calls == 1


def test_the_error_of_one_question_is_of_that_question() -> None:
    class Picky(Fake):
        def generate(self, asked: Iterable[Request]) -> Iterator[Answer]:
            for request in asked:
                if request.id == requests()[5].id:
                    raise ValueError("not this one")
                yield from super().generate([request])

    found = serving(Picky())
    found.feed(1, "generate", requests())
    answers = [answer for _, answer in everything(found, 60)]
    (bad,) = [answer for answer in answers if answer.finish == "error"]
    assert bad.id == requests()[5].id and bad.notes["error"] == "ValueError: not this one"


def test_the_same_question_may_be_asked_by_two_calls_at_once() -> None:
    found = serving(Fake(delay=0.001))
    found.feed(1, "generate", requests()[:8])
    found.feed(2, "generate", requests()[:8])
    answers = everything(found, 16)
    for call in (1, 2):
        assert [a.id for c, a in answers if c == call] == [r.id for r in requests()[:8]]


class Held(Fake):
    """Waits to be let go before each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.go = Event()

    def generate(self, asked: Iterable[Request]) -> Iterator[Answer]:
        for request in asked:
            self.go.wait(10)
            yield from super().generate([request])


def test_requests_that_were_not_begun_are_given_back_and_not_answered() -> None:
    model = Held()
    found = serving(model)
    found.feed(1, "generate", requests()[:6])
    assert found.collect(10, 0, more=True).drawn == 1
    found.give_back(2)
    found.drop(1, [requests()[1].id, requests()[0].id])
    told = found.collect(0, 0, more=True)
    assert [id for _, id in told.returned] == [requests()[i].id for i in (5, 4, 1)]
    model.go.set()
    assert [a.id for _, a in everything(found, 3)] == [requests()[i].id for i in (0, 2, 3)]


def test_it_is_said_when_few_requests_are_left() -> None:
    model = Held()
    found = serving(model)
    found.feed(1, "generate", requests()[:3])
    told: Collected = found.collect(5, 10, more=True)
    assert told.drawn == 1 and not told.answers
    model.go.set()


def test_a_model_that_gets_no_more_ends_what_it_has_begun_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Batch(Fake):
        def generate(self, asked: Iterable[Request]) -> Iterator[Answer]:
            yield from super().generate(list(asked))

    monkeypatch.setattr("infimm_eval.workers.serving.GAP", 60.0)
    found = serving(Batch())
    found.feed(1, "generate", requests()[:3])
    assert len(found.collect(0, 1, more=False).answers) == 3


@pytest.mark.parametrize("error", [UsageError("no"), MachineryError("broken")])
def test_what_ends_the_model_is_told(error: Exception) -> None:
    class Ending(Fake):
        def generate(self, asked: Iterable[Request]) -> Iterator[Answer]:
            yield from super().generate([next(iter(asked))])
            raise error

    found = serving(Ending())
    found.feed(1, "generate", requests()[:3])
    told = found.collect(0, 0.2, more=True)
    assert len(told.answers) == 1 and told.error is error


def test_a_model_that_leaves_questions_open_is_not_waited_for() -> None:
    class Forgetful(Fake):
        def generate(self, asked: Iterable[Request]) -> Iterator[Answer]:
            yield from super().generate(list(asked)[1:])

    found = serving(Forgetful())
    found.feed(1, "generate", requests()[:3])
    told = found.collect(0, 1, more=True)
    assert isinstance(told.error, MachineryError) and "left 1 questions open" in str(told.error)


def test_other_work_is_done_by_the_models_thread_between_requests() -> None:
    found = serving(Fake(delay=0.001))
    found.feed(1, "generate", requests()[:20])
    assert found.run(lambda: 7) == 7
    with pytest.raises(ValueError, match="odd"):
        found.run(lambda: _raise(ValueError("odd")))
    assert len(everything(found, 20)) == 20


def _raise(error: Exception) -> None:
    raise error
