"""Options ranked by models of the transformers library, their prompt read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from infimm_eval.types import Request
from tests.models.families import ENCODING_ALL, FAMILIES, MORE, llava, load, saved
from tests.models.tiny import few_shot, painted, request

ALL = FAMILIES | MORE | ENCODING_ALL
# PaliGemma's processor makes an array of its tensors in the old way.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
OPTIONS = (" a dog", " a very large house", " no", "!")


@pytest.fixture(scope="module", params=ALL)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param), ALL[request.param])


def logliks(model: Any, asked: list[Request]) -> list[float]:
    found = {answer.id: answer.logliks for answer in model.rank(asked)}
    return [loglik for one in asked for loglik in found[one.id]]


def test_an_option_is_as_likely_after_a_shared_prompt_as_after_its_own(folder):
    asked = few_shot(4, options=OPTIONS)
    if "paligemma" not in folder.name:  # whose processor wants a picture in every prompt
        texts = [f"{text}, no picture" for text in ("one", "two", "three")]
        asked += [request(text, text, options=OPTIONS) for text in texts]
    shared, plain = load(folder), load(folder, sharing=False)
    expected = logliks(plain, asked)
    assert logliks(shared, asked) == pytest.approx(expected, abs=1e-4)
    assert len({round(loglik, 3) for loglik in expected}) > len(expected) / 2
    tried = 2 if len(asked) > 4 else 1
    assert shared.statistics["prompts_read_by_option"] == tried
    assert shared.statistics["prompts_read_once"] == len(asked) - tried
    assert plain.statistics["prompts_read_by_option"] == len(asked)


def test_a_prompt_is_read_once_and_options_are_read_after_it(tmp_path, monkeypatch):
    model = load(saved(tmp_path, llava))
    first, second = few_shot(2, options=OPTIONS)
    logliks(model, [first])
    read = []
    forward = LlavaForConditionalGeneration.forward

    def noted(self: Any, input_ids: Any, **kwargs: Any) -> Any:
        read.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", noted)
    (answer,) = model.rank([second])
    longest = max(map(len, OPTIONS))
    assert read == [(1, answer.notes["tokens_in"]), (4, longest - 1)]
    logliks(model, [request("letters", "which?", options=("A", "B"))])
    read.clear()
    (answer,) = model.rank([request("letters", "which one?", options=("A", "B"))])
    assert read == [(1, answer.notes["tokens_in"])]


def test_prompts_of_a_known_kind_are_read_side_by_side(tmp_path, monkeypatch):
    folder = saved(tmp_path, llava)
    asked = few_shot(9, options=OPTIONS)
    asked += [request(f"letter {n}", (painted(n), "which?"), options=("A", "B")) for n in range(4)]
    expected = logliks(load(folder, sharing=False), asked)
    model = load(folder, batch_size=4)
    jobs = []
    batch = model.engine.ranking.batch
    monkeypatch.setattr(
        model.engine.ranking, "batch", lambda some: jobs.append(len(some)) or batch(some)
    )
    assert logliks(model, asked) == pytest.approx(expected, abs=1e-4)
    assert sum(jobs) == len(asked) and max(jobs) == 4 and len(jobs) < 8
    assert model.statistics["prompts_read_once"] == len(asked) - 2


@pytest.mark.parametrize("sharing", [True, False])
def test_options_that_do_not_fit_into_memory_together_are_read_in_halves(
    tmp_path, monkeypatch, sharing
):
    folder = saved(tmp_path, llava)
    asked = few_shot(3, options=OPTIONS)
    expected = logliks(load(folder, sharing=sharing), asked)
    forward = LlavaForConditionalGeneration.forward

    def small(self: Any, input_ids: Any, **kwargs: Any) -> Any:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", small)
    model = load(folder, sharing=sharing)
    assert logliks(model, asked) == pytest.approx(expected, abs=1e-4)
    assert model.statistics["oom_halvings"] == 1
    assert ("prompts_read_once" in model.statistics) == sharing


def test_a_model_whose_options_go_on_differently_reads_a_prompt_for_each(tmp_path, monkeypatch):
    folder = saved(tmp_path, llava)
    letters = request("letters", (painted(1), "which?"), options=("A", "B"))
    asked = [letters, *few_shot(3, options=OPTIONS)]  # the first of which shows nothing
    expected = logliks(load(folder, sharing=False), asked)
    forward = LlavaForConditionalGeneration.forward

    def forgetful(self: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        if past_key_values is not None:
            past_key_values.crop(2)
        return forward(self, past_key_values=past_key_values, **kwargs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", forgetful)
    model = load(folder)
    assert logliks(model, asked) == expected
    assert model.statistics["prompts_read_by_option"] == 4
    assert "prompts_read_once" not in model.statistics


def test_a_model_that_cannot_go_on_at_all_reads_a_prompt_for_each(tmp_path, monkeypatch):
    folder = saved(tmp_path, llava)
    asked = few_shot(3, options=OPTIONS)
    expected = logliks(load(folder, sharing=False), asked)
    forward = LlavaForConditionalGeneration.forward

    def refusing(self: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        if past_key_values is not None:
            raise ValueError("no more than one token at a time")
        return forward(self, **kwargs)

    monkeypatch.setattr(LlavaForConditionalGeneration, "forward", refusing)
    model = load(folder)
    assert logliks(model, asked) == expected
    assert model.statistics["prompts_read_by_option"] == 3
