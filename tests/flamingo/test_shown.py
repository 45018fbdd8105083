"""Pictures that several rows show are projected once, and the rows read what they would alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, gather_pictures, rank
from infimm_eval.flamingo.prefill import read_after
from infimm_eval.flamingo.shown import Shown
from tests.flamingo.small import EOC, IMAGE, generate, pictures, small

ROWS = [[0, 1], [1, 0], [1]]
IDS = torch.tensor(
    [
        [1, EOC, IMAGE, 5, 6, EOC, IMAGE, 7],
        [1, EOC, IMAGE, 5, 6, EOC, IMAGE, 7],
        [1, EOC, IMAGE, 9, 8, 7, 6, 5],
    ]
)


def asked(model: Flamingo) -> tuple[Shown, Tensor, Tensor]:
    """Two pictures that three rows show, and the same as a tensor of copies."""
    seen = pictures(model, 2)
    copies, n_images = gather_pictures(seen, ROWS)
    return Shown(seen, torch.tensor([[0, 1], [1, 0], [1, 0]])), copies, n_images


def test_the_logits_are_those_of_copies() -> None:
    model = small()
    shown, copies, n_images = asked(model)
    torch.testing.assert_close(
        model(IDS, None, shown, n_images), model(IDS, None, copies, n_images)
    )


@pytest.mark.parametrize("search", [{}, {"num_beams": 3}])
def test_the_answers_are_those_of_copies(search: dict[str, Any]) -> None:
    model = small()
    shown, copies, n_images = asked(model)
    own, other = (
        generate(model, IDS, None, latents, n_images, max_new_tokens=6, **search)
        for latents in (shown, copies)
    )
    assert [answer.ids for answer in own] == [answer.ids for answer in other]


def test_the_ranks_are_those_of_copies() -> None:
    model = small()
    shown, copies, n_images = asked(model)
    options = [[[5, 6], [7]]] * 3
    own, other = (
        [
            [option.sum for option in row]
            for row in rank(model, IDS, None, x, n_images, continuations=options)
        ]
        for x in (shown, copies)
    )
    torch.testing.assert_close(torch.tensor(own), torch.tensor(other))


def rows_projected(model: Flamingo) -> list[int]:
    """How many pictures the first gated block projects at each call, from here on."""
    counts: list[int] = []
    to_kv = model.gates.get_submodule(f"{min(map(int, model.gates))}.attn.to_kv")
    to_kv.register_forward_pre_hook(
        lambda _, given: counts.append(len(given[0])) if given[0].dim() == 3 else None
    )
    return counts


def test_a_picture_is_projected_once_however_many_rows_show_it() -> None:
    model = small()
    counts = rows_projected(model)
    shown, _, n_images = asked(model)
    model(IDS, None, shown, n_images)
    assert counts == [2]


def test_a_picture_that_only_the_prefix_shows_is_not_projected_again() -> None:
    model = small()
    shown, _, n_images = asked(model)
    prefix = model.new_cache(1, 5)
    prefix.flags_R.fill_(1)
    model.prefill(prefix, IDS[:1, :5], [5], shown.rows([0]), torch.tensor([1]))
    cache = model.new_cache(2, 8)
    counts = rows_projected(model)
    two = shown.rows([0, 0])
    found = read_after([prefix, prefix], model, cache, IDS[:2], [8, 8], two, n_images[:2])
    assert counts == [1]
    whole = model.new_cache(2, 8)
    torch.testing.assert_close(found, model.prefill(whole, IDS[[0, 0]], [8, 8], two, n_images[:2]))


def test_pictures_for_other_rows_are_refused() -> None:
    model = small()
    shown, _, n_images = asked(model)
    with pytest.raises(UsageError, match="3 prompts came with latents for 2"):
        generate(model, IDS, None, shown.rows([0, 1]), n_images, max_new_tokens=2)
