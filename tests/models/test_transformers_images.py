"""Each distinct picture encoded once by models of the transformers library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaModel
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling

from infimm_eval.models.transformers.towers import Form, cut
from infimm_eval.types import Decoding, Request
from tests.models.families import (
    FAMILIES,
    MORE,
    answers,
    idefics3_in_tiles,
    llava,
    load,
    saved,
)
from tests.models.tiny import few_shot, painted, request

ALL = FAMILIES | MORE
# PaliGemma's processor makes an array of its tensors in the old way.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SIZES = [(40, 30), (30, 40), (56, 28), (28, 84)]


@pytest.fixture(scope="module", params=ALL)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param), ALL[request.param])


def in_sizes(n: int, **rest: Any) -> list[Request]:
    """Prompts with one to three pictures of some sizes, four pictures in all."""
    shown = [painted(i, size) for i, size in enumerate(SIZES)]
    made = []
    for i in range(n):
        turns: list[Any] = []
        for k in range(i % 3):
            turns += [(shown[(i + k) % 4], "Output:"), "a dog"]
        made.append(request(str(i), *turns, (shown[i * 3 % 4], f"what {i}?"), **rest))
    return made


def said(model: Any, asked: list[Request]) -> dict[str, str]:
    return {i: answer.text for i, answer in answers(model, asked).items()}


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_a_model_that_encodes_everything(folder, beams):
    asked = in_sizes(8, num_beams=beams)
    plain, remembering = load(folder, batch_size=3, sharing=False), load(folder, batch_size=3)
    expected = said(plain, asked)
    assert said(remembering, asked) == expected
    assert len(set(expected.values())) > 3
    counted = plain.statistics
    assert counted["pictures_encoded"] == counted["pictures_in_prompts"] == 15


def test_a_picture_shown_twice_is_encoded_once(folder):
    asked = in_sizes(8)
    model = load(folder, batch_size=3)
    expected = said(model, asked)
    counted = dict(model.statistics)
    assert (counted["pictures_in_prompts"], counted["pictures_distinct"]) == (15, 4)
    if "tiles_asked" not in counted:
        assert counted["pictures_encoded"] == 4
    for name, parameter in model.model.named_parameters():
        if "vision" in name or "visual" in name:
            parameter.data.fill_(torch.nan)
    assert said(model, asked) == expected
    again = model.statistics
    for count in ("pictures_encoded", "tiles_encoded"):
        assert again.get(count) == counted.get(count)


def test_tiles_of_pictures_are_counted_as_tiles(tmp_path):
    model = load(saved(tmp_path, idefics3_in_tiles), batch_size=4)
    said(model, few_shot(9))
    counted = model.statistics
    assert "pictures_encoded" not in counted
    assert counted["tiles_encoded"] == 3 * counted["pictures_distinct"] == 21
    assert counted["tiles_asked"] > counted["tiles_encoded"]


def test_what_is_not_kept_is_encoded_again(tmp_path):
    folder = saved(tmp_path, llava)
    beams = Decoding(max_new_tokens=4, num_beams=2)  # whose prompts are not fetched ahead
    asked = [replace(request, decoding=beams) for request in few_shot(9)]
    small = load(folder, batch_size=2, host_cache=3 * 4 * 32 * 4)
    assert said(small, asked) == said(load(folder, batch_size=2), asked)
    counted = small.statistics
    encoded = counted["pictures_encoded"]
    assert counted["pictures_distinct"] < encoded < counted["pictures_in_prompts"]


def test_a_tower_that_mixes_its_pictures_goes_on_encoding_all(tmp_path, monkeypatch):
    folder = saved(tmp_path, llava)
    apart = LlavaModel.get_image_features

    def mixed(self: Any, pixel_values: torch.Tensor, **kwargs: Any) -> Any:
        output = apart(self, pixel_values, **kwargs)
        mean = torch.stack(output.pooler_output).mean(0)
        output.pooler_output = [features + mean for features in output.pooler_output]
        return output

    monkeypatch.setattr(LlavaModel, "get_image_features", mixed)
    model = load(folder, batch_size=3, sharing=False)
    asked = in_sizes(8)
    assert said(model, asked) == said(load(folder, batch_size=3), asked)
    assert model.statistics["pictures_encoded"] == 15


def test_features_of_another_kind_are_passed_on_as_they_come(tmp_path, monkeypatch):
    folder = saved(tmp_path, llava)
    known = LlavaModel.get_image_features

    def other(self: Any, pixel_values: torch.Tensor, **kwargs: Any) -> Any:
        output = known(self, pixel_values, **kwargs)
        output["something_new"] = output.pooler_output[0]
        return output

    monkeypatch.setattr(LlavaModel, "get_image_features", other)
    model = load(folder, batch_size=3, sharing=False)
    asked = in_sizes(8)
    assert said(model, asked) == said(load(folder, batch_size=3), asked)
    assert model.statistics["pictures_encoded"] == 15


@pytest.mark.parametrize(
    "arguments",
    [
        {"pixel_values": torch.ones(4, 3, 8, 8), "batch_num_images": torch.tensor([1, 3])},
        {"pixel_values": torch.ones(6, 5), "image_grid_thw": torch.tensor([[1, 2, 2]])},
        {"pixel_values": torch.ones(2, 3, 8, 8), "made": object()},
        {"pixel_values": [torch.ones(3, 8, 8)]},
    ],
    ids=["counts by prompt", "grids that do not add up", "an object", "a list"],
)
def test_arguments_of_no_known_kind_are_not_cut(arguments):
    assert cut(arguments) is None


@pytest.mark.parametrize("kind", [BaseModelOutput, BaseModelOutputWithPooling])
def test_features_are_given_back_where_models_look_for_them(kind):
    features = [torch.ones(1, 2, 3), torch.zeros(1, 2, 3)]
    output = Form(kind, stacked=True, layers=0).output(features)
    assert torch.equal(output.pooler_output, torch.cat(features))


def test_words_of_the_call_that_a_tower_is_handed_too_do_not_matter():
    pixels = torch.zeros(2, 3, 4, 4)
    rows = cut({"pixel_values": pixels, "tokenizer": object(), "return_dict": True})
    assert rows is not None and len(rows) == 2
