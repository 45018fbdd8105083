"""What a row sees and remembers, whatever stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, gather_pictures
from infimm_eval.flamingo.prefill import pack
from tests.flamingo.small import EOC, IMAGE, batch, pictures, small

KINDS = [("L", "mistral", 2), ("g", "llama", 4), ("E", "mistral", 1), ("g", "llama", 2)]


def seen(model: Flamingo, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    return gather_pictures(pictures(model, 5), rows)


@torch.no_grad()
def real_logits(model: Flamingo, side: str = "left") -> list[Tensor]:
    """Each row's logits without its padding."""
    ids, mask, rows = batch(side)
    logits = model(ids, mask, *seen(model, rows))
    return [row[m.bool()] for row, m in zip(logits, mask, strict=True)]


def close(a: Tensor, b: Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_side_of_the_padding_changes_nothing(kind: Any) -> None:
    model = small(*kind)
    for left, right in zip(real_logits(model), real_logits(model, "right"), strict=True):
        close(left, right)


@pytest.mark.sampled
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_is_the_row_in_a_batch(kind: Any) -> None:
    model = small(*kind)
    together = real_logits(model)
    ids, mask, rows = batch()
    for b, expected in enumerate(together):
        alone = ids[b][mask[b].bool()][None]
        latents, n_images = seen(model, [rows[b]])
        with torch.no_grad():
            close(model(alone, None, latents, n_images)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_token_by_token_is_the_whole_text_at_once(kind: Any) -> None:
    model = small(*kind)
    ids, mask, rows = batch()
    latents, n_images = seen(model, rows)
    right, lengths = pack(ids, mask)
    more = torch.tensor([[21, 22, 23], [24, 25, 26], [27, 28, 29], [30, 31, 32]])
    cache = model.new_cache(4, 20)
    steps = [model.prefill(cache, right, lengths, latents, n_images)]
    steps += [model.step(cache, more[:, i : i + 1])[:, 0] for i in range(3)]
    with torch.no_grad():
        whole = model(
            torch.cat([ids, more], 1),
            torch.cat([mask, torch.ones_like(more)], 1),
            latents,
            n_images,
        )
    close(torch.stack(steps, 1), whole[:, -4:])


def test_several_tokens_in_one_step_are_as_many_steps() -> None:
    model = small()
    ids, mask, rows = batch()
    right, lengths = pack(ids, mask)
    more = torch.tensor([[21, 22, 23], [24, 25, 26], [27, 28, 29], [30, 31, 32]])
    one, many = model.new_cache(4, 20), model.new_cache(4, 20)
    for cache in (one, many):
        model.prefill(cache, right, lengths, *seen(model, rows))
    singly = torch.cat([model.step(one, more[:, i : i + 1]) for i in range(3)], 1)
    close(model.step(many, more), singly)


def test_a_shared_beginning_is_computed_once_and_continued_with_new_pictures() -> None:
    model = small()
    start = [1, EOC, IMAGE, 10, 11, EOC]
    ends = [[IMAGE, 12, 13], [14, IMAGE]]
    shots = model.new_cache(1, 10)
    latents = pictures(model, 3)
    model.prefill(shots, torch.tensor([start]), [6], latents[None, :1])
    cache = model.new_cache(3, 20)
    cache.adopt([2, 0], shots, [0, 0])
    ids, mask = torch.tensor([[*ends[0]], [*ends[1], 2]]), [3, 2]
    logits = model.prefill(cache, ids, mask, torch.stack([latents[1:2], latents[2:3]]), rows=[2, 0])
    for b, end in enumerate(ends):
        with torch.no_grad():
            whole = model(torch.tensor([start + end]), None, latents[[0, b + 1]][None])
        close(logits[b], whole[0, -1])
    assert cache.lengths == [8, 0, 9]


def test_rows_may_leave_and_join_a_running_batch() -> None:
    model = small()
    ids, mask, rows = batch()
    right, lengths = pack(ids, mask)
    latents, n_images = seen(model, rows)
    cache = model.new_cache(2, 20)
    model.prefill(cache, right[:2], lengths[:2], latents[:2], n_images[:2])
    model.step(cache, torch.tensor([[21], [22]]))
    cache.free([0])
    model.prefill(cache, right[2:3], lengths[2:3], latents[2:3], n_images[2:3], rows=[0])
    logits = model.step(cache, torch.tensor([[23], [24]]))[:, 0]
    for r, (b, more) in enumerate(((2, [23]), (1, [22, 24]))):
        text = torch.tensor([right[b, : lengths[b]].tolist() + more])
        with torch.no_grad():
            close(logits[r], model(text, None, latents[b : b + 1], n_images[b : b + 1])[0, -1])
    cache.select([1])
    assert len(cache) == 1 and cache.lengths == [lengths[1] + 2]


def test_a_free_row_stays_free_while_others_step() -> None:
    model = small()
    cache = model.new_cache(2, 8)
    model.prefill(cache, torch.tensor([[1, 5]]), [2], rows=[1])
    for _ in range(6):
        logits = model.step(cache, torch.tensor([[3], [4]]))
    assert cache.lengths == [0, 8] and logits.isfinite().all()


def test_a_tag_sees_its_own_picture_and_the_text_before_it_the_one_before() -> None:
    model = small(every=1, seed=2)
    ids = torch.tensor([[1, EOC, IMAGE, 10, EOC, IMAGE, 11]])
    latents = pictures(model, 3)
    with torch.no_grad():
        first, other = (
            model(ids, None, latents[None, [0, 1]]),
            model(ids, None, latents[None, [0, 2]]),
        )
    changed = (first - other).abs().amax(dim=(0, 2)) > 1e-4
    assert changed.tolist() == [False] * 5 + [True, True]


def test_a_row_without_a_tag_is_the_plain_language_model() -> None:
    model = small()
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.no_grad():
        with_pictures = model(ids, None, pictures(model, 2)[None])
        for block in model.gates.values():
            block.attn_gate.zero_()
            block.ff_gate.zero_()
        assert torch.equal(with_pictures, model(ids))


def test_a_later_tag_changes_text_before_the_first_as_in_the_released_code() -> None:
    model = small()
    with torch.no_grad():
        plain = model(torch.tensor([[1, 5, 6]]))
        tagged = model(torch.tensor([[1, 5, 6, IMAGE]]), None, pictures(model, 1)[None])
    assert (plain - tagged[:, :3]).abs().max() > 1e-2


def test_surplus_tags_see_the_mean_of_the_rows_own_pictures_whatever_the_batch_pads() -> None:
    model = small()
    ids = torch.tensor([[1, IMAGE, 5, IMAGE, 6, IMAGE, 7], [1, IMAGE, IMAGE, IMAGE, IMAGE, 8, 9]])
    latents = pictures(model, 5)
    block = model.gates["1"]
    attended: list[Tensor] = []
    handle = block.attn.register_forward_hook(lambda _, args, out: attended.append(out))
    with torch.no_grad():
        alone = model(ids[:1], None, latents[None, :2])
        handle.remove()
        padded, n_images = gather_pictures(latents, [[0, 1], [0, 1, 2, 3]])
        beside = model(ids, None, padded, n_images)
        values_BIVhd = block.attn.project(latents[None, :2])[:, :, :, 1]
        mean = block.attn.to_out(values_BIVhd.mean(dim=(1, 2)).flatten(1))
    close(attended[0][0, -1], mean[0])
    close(beside[0], alone[0])


def test_surplus_pictures_are_ignored() -> None:
    model = small()
    ids = torch.tensor([[1, IMAGE, 5]])
    latents = pictures(model, 3)
    with torch.no_grad():
        close(model(ids, None, latents[None]), model(ids, None, latents[None, :1]))


def test_tags_without_any_picture_run_the_feed_forward_and_see_nothing() -> None:
    model = small()
    ids = torch.tensor([[1, IMAGE, 5]])
    with torch.no_grad():
        blank = model(ids, None, torch.zeros(1, 1, 8, 32))
        close(model(ids), blank)


def test_more_tokens_than_positions_are_refused() -> None:
    model = small()
    ids = torch.ones(1, 129, dtype=torch.long)
    with pytest.raises(UsageError, match=r"129 tokens.* exceed the model's 128 positions"):
        model(ids)
    cache = model.new_cache(1, 200)
    with pytest.raises(UsageError, match="positions"):
        model.prefill(cache, ids, [129])
    model.prefill(cache, ids[:, :128], [128])
    with pytest.raises(UsageError, match="positions"):
        model.step(cache, ids[:, :1])


def test_a_sequence_that_does_not_fit_its_cache_is_refused() -> None:
    model = small()
    with pytest.raises(ValueError, match="6 tokens do not fit into a cache of 5"):
        model.prefill(model.new_cache(1, 5), torch.ones(1, 6, dtype=torch.long), [6])
    big, little = model.new_cache(1, 9), model.new_cache(1, 5)
    model.prefill(big, torch.ones(1, 6, dtype=torch.long), [6])
    with pytest.raises(ValueError, match="do not fit"):
        little.adopt([0], big, [0])
    with pytest.raises(ValueError, match="empty sequence"):
        model.prefill(model.new_cache(1, 5), torch.ones(1, 2, dtype=torch.long), [0])


@pytest.mark.parametrize("autocast", [False, True])
def test_every_used_parameter_learns(autocast: bool) -> None:
    model = small()
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, EOC, IMAGE, 5, 6], [1, EOC, IMAGE, 7, 8]])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model(ids, None, model.encode_images(pixels)[:, None])
    assert logits.dtype == torch.float32
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    clip = {f"tower.{part}.{kind}" for part in ("norm", "head") for kind in ("weight", "bias")}
    assert idle == clip
