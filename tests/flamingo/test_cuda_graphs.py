"""Recorded steps: what is replayed at fixed addresses is what would have been computed.

On a processor a stand-in for the recording computes the step again where the recording would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, chunk, gated, gather_pictures, resampler
from infimm_eval.flamingo.attention import attend
from infimm_eval.flamingo.cuda_graphs import CudaGraphs, Steps
from infimm_eval.flamingo.towers import eva
from tests.flamingo.small import batch, generate, pictures, small


def again(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    result = work()
    return lambda: result.copy_(work()), result  # type: ignore[return-value]


def prompts(model: Flamingo) -> tuple[Any, ...]:
    ids, mask, seen = batch()
    return ids, mask, *gather_pictures(pictures(model, 5), seen)


@pytest.mark.sampled
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_recorded_steps_give_the_answers_of_computed_ones(beams: int, windowed: bool) -> None:
    model = small()
    if windowed:
        object.__setattr__(model.decoder.config, "sliding_window", 6)
    options: dict[str, Any] = {"max_new_tokens": 12, "num_beams": beams, "eos_ids": [2, 30, 41]}
    expected = generate(model, *prompts(model), graphs=CudaGraphs(after=None), **options)
    graphs = CudaGraphs(after=1, capture=again)
    found = generate(model, *prompts(model), graphs=graphs, **options)
    assert graphs.count >= 1
    assert graphs.seconds > 0
    for one, other in zip(found, expected, strict=True):
        assert (one.ids, one.finish) == (other.ids, other.finish)
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_rows_may_leave_and_join_between_replays() -> None:
    model = small()
    ids, mask, latents, n_images = prompts(model)
    lengths = mask.sum(1).tolist()
    texts = [row[-n:] for row, n in zip(ids, lengths, strict=True)]

    def read(cache: Any, row: int, text: int) -> Tensor:
        part = latents[text : text + 1], n_images[text : text + 1]
        return model.prefill(cache, texts[text][None], [lengths[text]], *part, rows=[row])

    cache = model.new_cache(2, 24)
    step = Steps(model, cache, CudaGraphs(after=1, capture=again))
    read(cache, 0, 1), read(cache, 1, 0)
    for token in (5, 6, 7):
        step(torch.tensor([[token], [token]]))
    cache.free([1])
    read(cache, 1, 3)
    recorded = [step(torch.tensor([[token], [token + 1]]))[:, 0].clone() for token in (8, 9)]

    plain = model.new_cache(2, 24)
    read(plain, 0, 1), read(plain, 1, 3)
    plain_0 = [model.step(plain, torch.tensor([[t], [0]]))[0, 0] for t in (5, 6, 7, 8, 9)][-2:]
    other = model.new_cache(1, 24)
    read(other, 0, 3)
    plain_1 = [model.step(other, torch.tensor([[t]]))[0, 0] for t in (9, 10)]
    for found, first, second in zip(recorded, plain_0, plain_1, strict=True):
        torch.testing.assert_close(found, torch.stack([first, second]), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_memory_and_its_recording_serve_the_next_batch_that_fits() -> None:
    model, graphs = small(), CudaGraphs(after=1, capture=again)
    plain = CudaGraphs(after=None)
    ids, mask, latents, n_images = prompts(model)
    for kinds, beams in enumerate((3, 1), 1):
        options: dict[str, Any] = {"max_new_tokens": 6, "num_beams": beams, "eos_ids": [2, 30]}
        for rows in (slice(0, 4), slice(1, 3), slice(2, 4)):
            batch = ids[rows], mask[rows], latents[rows], n_images[rows]
            found = generate(model, *batch, graphs=graphs, **options)
            expected = generate(model, *batch, graphs=plain, **options)
            assert [(a.ids, a.finish) for a in found] == [(a.ids, a.finish) for a in expected]
        assert graphs.count == kinds


def test_memory_that_is_too_small_or_far_too_long_makes_way() -> None:
    model, graphs = small(), CudaGraphs(capture=again)
    sizes = []
    for rows, capacity in ((4, 20), (3, 12), (4, 21), (5, 21), (1, 10)):
        with graphs.lend(model, rows, capacity) as step:
            sizes.append((len(step.cache), step.cache.capacity))
            step.cache.lengths = [1] * len(step.cache)
    assert sizes == [(4, 20), (4, 20), (4, 21), (5, 21), (1, 10)]
    with pytest.raises(RuntimeError), graphs.lend(model, 1, 10) as step:
        assert step.cache.lengths == [0]
        failed = step
        raise RuntimeError
    with graphs.lend(model, 1, 10) as step:
        assert step is not failed


def test_what_comes_in_any_shape_is_planned_for_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[bool] = []

    def attending(*args: Any, **kwargs: Any) -> Tensor:
        plans.append(torch.backends.cuda.cudnn_sdp_enabled())
        return attend(*args, **kwargs)

    for module in (eva, resampler, gated, chunk):
        monkeypatch.setattr(module, "attend", attending)
    usual = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        model = small()
        read = prompts(model)
        with CudaGraphs(after=0, capture=again).lend(model, 4, 20) as step:
            model.prefill(step.cache, read[0][:, -3:], [3] * 4, *read[2:])
            model.step(step.cache, read[0][:, -1:])
            assert plans and not any(plans)
            plans.clear()
            step(read[0][:, -1:])
            assert plans and all(plans), "recorded steps are of one shape"
    finally:
        torch.backends.cuda.enable_cudnn_sdp(usual)


def test_a_processor_has_nothing_to_record() -> None:
    model, graphs = small(), CudaGraphs()
    generate(model, *prompts(model), max_new_tokens=9, min_new_tokens=9, graphs=graphs)
    assert graphs.count == 0
