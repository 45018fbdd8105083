"""What generation and ranking make of batches that do not hold together, and of numbers that are
none; and that they work in the types that accelerators use."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, gather_pictures, rank
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from tests.flamingo.small import EOC, IMAGE, batch, generate, pictures, small
from tests.flamingo.test_cuda_graphs import again


def parts(model: Flamingo) -> dict[str, Any]:
    ids, mask, seen = batch("right")
    latents, n_images = gather_pictures(pictures(model, 5), seen)
    return {"ids_BT": ids, "mask_BT": mask, "latents_BIVD": latents, "n_images_B": n_images}


def held(model: Flamingo, ids: list[int], latents_1IVD: Tensor | None = None) -> Any:
    """A cache of one row that holds these ids."""
    cache = model.new_cache(1, len(ids))
    cache.flags_R.fill_(1)
    model.prefill(cache, torch.tensor([ids]), [len(ids)], latents_1IVD)
    return cache


BROKEN: list[tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    (lambda p: p | {"mask_BT": p["mask_BT"] * torch.tensor([[1], [0], [1], [1]])}, "1 is empty"),
    (lambda p: p | {"latents_BIVD": p["latents_BIVD"][:3]}, "4 prompts came with latents for 3"),
    (lambda p: p | {"n_images_B": p["n_images_B"][:2]}, "4 prompts came with n_images for 2"),
    (lambda p: p | {"n_images_B": p["n_images_B"] + 1}, "n_images says 4.* room for 3"),
    (lambda p: p | {"prefixes": [None]}, "4 prompts came with prefixes for 1"),
]


@pytest.mark.parametrize("breaking, message", BROKEN)
def test_parts_of_a_batch_that_do_not_belong_together_are_refused(
    breaking: Any, message: str
) -> None:
    model = small()
    broken = breaking(parts(model))
    with pytest.raises(UsageError, match=message):
        generate(model, **broken, max_new_tokens=2)
    with pytest.raises(UsageError, match=message):
        rank(model, **broken, continuations=[[[5]]] * 4)


def test_limits_and_continuations_are_one_a_prompt() -> None:
    model = small()
    with pytest.raises(UsageError, match="4 prompts came with max_new_tokens for 2"):
        generate(model, **parts(model), max_new_tokens=[3, 3])
    with pytest.raises(UsageError, match="4 prompts came with continuations for 3"):
        rank(model, **parts(model), continuations=[[[5]]] * 3)


def test_no_prompts_have_no_answers() -> None:
    model = small()
    none = torch.zeros(0, 4, dtype=torch.long)
    assert generate(model, none, none, max_new_tokens=2) == []
    assert rank(model, none, none, continuations=[]) == []
    assert model.encode_images(torch.zeros(0, 3, 28, 28)).shape == (0, 8, 32)
    assert gather_pictures(torch.zeros(0, 8, 32), [])[0].shape == (0, 0, 8, 32)


def test_a_prefix_goes_with_as_many_pictures_as_tags() -> None:
    model = small()
    latents = pictures(model, 1)[None]
    ids = [1, EOC, IMAGE, 5, EOC, IMAGE, 6]
    prefix = held(model, ids[:4], latents)
    with pytest.raises(UsageError, match="prefix has more picture tags than pictures"):
        generate(model, torch.tensor([ids]), None, latents, max_new_tokens=2, prefixes=[prefix])


SPOILT, SOUND = [1, 2], [0, 3]
"""Rows of ``batch``: those whose pictures ``spoilt`` spoils, and the others."""


def spoilt(parts: dict[str, Any], number: float) -> dict[str, Any]:
    """The same batch, the pictures of rows 1 and 2 encoded to no finite number."""
    latents = parts["latents_BIVD"].clone()
    latents[SPOILT] = number
    return parts | {"latents_BIVD": latents}


@pytest.mark.sampled
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
@pytest.mark.parametrize("search", [{}, {"num_beams": 3}])
@pytest.mark.parametrize("recorded", [False, True])
def test_scores_that_are_not_finite_cost_their_own_prompt_its_answer_alone(
    number: float, search: dict[str, Any], recorded: bool
) -> None:
    model = small()
    sound = parts(model)
    usual = generate(model, **sound, max_new_tokens=6, min_new_tokens=6, **search)
    graphs = CudaGraphs(capture=again) if recorded else CudaGraphs()
    for _ in range(2):  # the second time in the memory of the first, where steps are recorded
        found = generate(
            model, **spoilt(sound, number), max_new_tokens=6, min_new_tokens=6, graphs=graphs,
            **search,
        )  # fmt: skip
        assert [found[b].finish for b in SPOILT] == ["nan"] * 2
        assert [found[b].ids for b in SPOILT] == [()] * 2
        assert [found[b].ids for b in SOUND] == [usual[b].ids for b in SOUND]
    later = generate(model, **sound, max_new_tokens=6, min_new_tokens=6, graphs=graphs, **search)
    assert [a.ids for a in later] == [a.ids for a in usual]


def test_options_after_a_prompt_without_finite_scores_have_no_likelihood() -> None:
    model = small()
    sound = parts(model)
    options = [[[5, 6], [7]]] * 4
    usual = rank(model, **sound, continuations=options)
    found = rank(model, **spoilt(sound, torch.nan), continuations=options)
    assert not any(math.isfinite(one.sum) for b in SPOILT for one in found[b])
    assert [found[b] for b in SOUND] == [usual[b] for b in SOUND]


def test_a_picture_of_no_numbers_spoils_only_the_rows_that_show_it() -> None:
    model = small()
    seen = pictures(model, 2)
    seen[0] = torch.nan
    ids = torch.tensor([[1, EOC, IMAGE, 5, 6, 7], [1, EOC, IMAGE, 5, EOC, IMAGE]])
    latents, n_images = gather_pictures(seen, [[1], [1, 0]])
    logits = model(ids, None, latents, n_images)
    assert logits[0].isfinite().all() and not logits[1].isfinite().all()


@pytest.mark.parametrize("search", [{}, {"num_beams": 3}])
def test_bfloat16_works_throughout(search: dict[str, Any]) -> None:
    model = small()
    asked = parts(model)
    model.to(torch.bfloat16)
    asked["latents_BIVD"] = asked["latents_BIVD"].to(torch.bfloat16)
    answers = generate(model, **asked, max_new_tokens=5, min_new_tokens=5, **search)
    assert [len(a.ids) for a in answers] == [5] * 4
    (first, *_) = rank(model, **asked, continuations=[[[5, 6], [7]]] * 4)
    assert all(ranked.sum < 0 for ranked in first)


def test_generation_works_under_autocast() -> None:
    model = small()
    with torch.autocast("cpu", torch.bfloat16):
        answers = generate(model, **parts(model), max_new_tokens=4, min_new_tokens=4, num_beams=2)
    assert [len(a.ids) for a in answers] == [4] * 4


def test_beams_beyond_the_vocabulary_find_the_best_of_all_answers() -> None:
    few = {"vocab_size": 8, "eos_token_id": 2}
    language = {
        "model_type": "mistral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    model = small(language=language | few, image_token_id=7, eoc_token_id=6)
    ids = torch.tensor([[1, 3, 4]])
    (answer,) = generate(
        model,
        ids,
        max_new_tokens=2,
        min_new_tokens=2,
        num_beams=40,
        length_penalty=0.0,
    )
    every = [list(pair) for pair in product((0, 1, 3, 4, 5), repeat=2)]
    (ranked,) = rank(model, ids, continuations=[every])
    best = max(zip(ranked, every, strict=True), key=lambda pair: pair[0].sum)
    assert list(answer.ids) == best[1]
    assert answer.score == pytest.approx(best[0].sum, abs=1e-4)
