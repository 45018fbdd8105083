"""Recorded steps: what is replayed at fixed addresses is what would have been computed.

On a processor a stand-in for the recording computes the step again where the recording would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, gather_pictures, generate
from infimm_eval.flamingo.recording import Recorder
from tests.flamingo.small import batch, pictures, small


def again(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    result = work()
    return lambda: result.copy_(work()), result  # type: ignore[return-value]


def prompts(model: Flamingo) -> tuple[Any, ...]:
    ids, mask, seen = batch()
    return ids, mask, *gather_pictures(pictures(model, 5), seen)


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
def test_recorded_steps_give_the_answers_of_computed_ones(beams: int, windowed: bool) -> None:
    model = small()
    if windowed:
        object.__setattr__(model.config.language, "sliding_window", 6)
    options: dict[str, Any] = {"max_new_tokens": 12, "num_beams": beams, "eos_ids": [2, 30, 41]}
    expected = generate(model, *prompts(model), recorder=Recorder(after=None), **options)
    recorder = Recorder(after=1, capture=again)
    found = generate(model, *prompts(model), recorder=recorder, **options)
    assert recorder.count >= 1
    assert recorder.seconds > 0
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
    step = Recorder(after=1, capture=again).steps(model, cache)
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


def test_a_cache_that_moved_is_recorded_anew() -> None:
    model = small()
    cache, recorder = model.new_cache(3, 12), Recorder(after=1, capture=again)
    model.prefill(cache, torch.tensor([[1, 5, 6], [1, 7, 8], [1, 9, 10]]), [3, 3, 3])
    step = recorder.steps(model, cache)
    for _ in range(3):
        step(torch.tensor([[11], [12], [13]]))
    assert recorder.count == 1
    cache.select([2, 0])
    expected = model.new_cache(2, 12)
    model.prefill(expected, torch.tensor([[1, 9, 10, 13, 13, 13], [1, 5, 6, 11, 11, 11]]), [6, 6])
    for _ in range(3):
        torch.testing.assert_close(
            step(torch.tensor([[14], [15]])),
            model.step(expected, torch.tensor([[14], [15]])),
            atol=1e-5,
            rtol=0,
        )
    assert recorder.count == 2


def test_a_processor_has_nothing_to_record() -> None:
    model, recorder = small(), Recorder()
    generate(model, *prompts(model), max_new_tokens=9, min_new_tokens=9, recorder=recorder)
    assert recorder.count == 0
