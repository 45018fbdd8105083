"""What every built-in model does when it is closed, and what its statistics are good for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import models
from tests.models.families import llava, saved
from tests.models.test_openai import says, serving
from tests.models.tiny import checkpoint, few_shot


@pytest.fixture(params=["flamingo", "transformers", "openai"])
def model(request: Any, tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:
        if request.param == "openai":
            place = stack.enter_context(serving(lambda *_: says("a dog")))
            yield models.load("openai:m", base_url=place.url)
        else:
            make: Callable[[Path], Path] = checkpoint
            if request.param == "transformers":
                make = lambda place: saved(place, llava)  # noqa: E731
            yield models.load(str(make(tmp_path)), device="cpu", batch_size=2)


def workers() -> set[str]:
    prefixes = ("prepare", "openai")
    return {t.name for t in threading.enumerate() if t.name.startswith(prefixes)}


def texts(model: Any) -> dict[str, str]:
    return {answer.id: answer.text for answer in model.generate(few_shot(9))}


@pytest.mark.slow
def test_closing_ends_what_was_begun_with_its_threads_once_and_again(model):
    expected = texts(model)
    answers = model.generate(few_shot(60))
    next(answers)
    assert workers()
    model.close()
    assert not workers()
    assert list(answers) == []
    model.close()
    assert texts(model) == expected


@pytest.mark.slow
def test_a_closed_model_keeps_no_features_and_no_beginnings(tmp_path):
    for model in (
        models.load(str(checkpoint(tmp_path / "a")), device="cpu"),
        models.load(str(saved(tmp_path / "b", llava)), device="cpu"),
    ):
        texts(model)
        encoded = model.statistics["pictures_encoded"]
        texts(model)
        assert model.statistics["pictures_encoded"] == encoded
        model.close()
        texts(model)
        assert model.statistics["pictures_encoded"] == 2 * encoded


@pytest.mark.slow
def test_statistics_are_numbers_that_grow_so_that_they_can_be_added_up(model):
    texts(model)
    first = dict(model.statistics)
    texts(model)
    second = dict(model.statistics)
    assert all(isinstance(number, int | float) for number in second.values())
    assert all(second[name] >= number for name, number in first.items())
    assert second["requests"] == 2 * first["requests"] == 18
