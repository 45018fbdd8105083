"""The next checkpoint in the memory of the present one: the same answers, nothing made anew."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infimm_eval import models
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.models import ModelOptions
from infimm_eval.models.flamingo.model import FlamingoModel
from infimm_eval.series.checkpoints import Checkpoint
from infimm_eval.series.loader import Loader
from tests.models.tiny import checkpoint, few_shot, request

OPTIONS = ModelOptions(device="cpu", batch_size=4)
RANKED = [request(f"r{n}", f"What is this ? a {n}", options=(" dog", " cat red")) for n in range(4)]


def again(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A stand-in for a recording, on a processor: what would be replayed is computed."""
    result = work()
    return lambda: result.copy_(work()), result  # type: ignore[return-value]


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CudaGraphs, "capture_on", lambda self, device: again)


def loaded(folder: Path) -> FlamingoModel:
    model = models.load(str(folder), OPTIONS)
    assert isinstance(model, FlamingoModel)
    return model


def swapped(folder: Path, standing: FlamingoModel) -> FlamingoModel:
    model = models.load_ahead(str(folder), OPTIONS, standing)()
    assert isinstance(model, FlamingoModel)
    return model


def said(model: FlamingoModel) -> dict[str, Any]:
    """Everything that it answers, to the last bit."""
    answers = [*model.generate(few_shot(10)), *model.rank(RANKED)]
    return {answer.id: (answer.text, answer.logliks, answer.finish) for answer in answers}


def logits(model: FlamingoModel) -> Tensor:
    with torch.inference_mode():
        flamingo = model.engine.model
        pixels = torch.linspace(-1, 1, 3 * 28 * 28).view(1, 3, 28, 28)
        ids = torch.tensor([[1, 4, 9, 11, 7, 5]])
        return flamingo(ids, None, flamingo.encode_images(pixels)[None])


@pytest.mark.slow
def test_a_model_in_the_memory_of_another_answers_as_one_that_is_loaded(
    tmp_path: Path, recording: None
) -> None:
    one, two = checkpoint(tmp_path / "1", seed=1), checkpoint(tmp_path / "2", seed=2)
    first, fresh = loaded(one), loaded(two)
    before = said(first)
    second = swapped(two, first)
    assert second.engine.model is first.engine.model
    assert second.settings == fresh.settings != first.settings
    assert second.name == "2"
    assert torch.equal(logits(second), logits(fresh))
    assert said(second) == said(fresh) != before
    third = swapped(one, second)
    assert said(third) == before, "and back again"


@pytest.mark.slow
def test_recorded_steps_and_fused_weights_outlast_the_swap(tmp_path: Path, recording: None) -> None:
    one, two = checkpoint(tmp_path / "1", seed=1), checkpoint(tmp_path / "2", seed=2)
    first = loaded(one)
    said(first)
    graphs = first.engine.generation.graphs
    recordings = graphs.count
    addresses = [tensor.data_ptr() for tensor in first.engine.model.state_dict().values()]
    assert recordings > 0
    second = swapped(two, first)
    said(second)
    assert second.engine.generation.graphs is graphs and graphs.count == recordings
    assert addresses == [t.data_ptr() for t in second.engine.model.state_dict().values()]


@pytest.mark.slow
def test_one_of_other_shapes_is_a_model_of_its_own(tmp_path: Path) -> None:
    resampler = {"heads": 2, "dim_head": 16, "depth": 2, "latents": 3}
    first = loaded(checkpoint(tmp_path / "1", seed=1))
    other = checkpoint(tmp_path / "2", seed=2, resampler=resampler)
    second = swapped(other, first)
    assert second.engine.model is not first.engine.model
    assert said(second) == said(loaded(other))


@pytest.mark.slow
def test_there_is_never_more_than_one_model_and_the_weights_of_the_next(tmp_path: Path) -> None:
    folders = [checkpoint(tmp_path / str(n), seed=n) for n in range(4)]
    steps = [Checkpoint(n, folder) for n, folder in enumerate(folders)]
    loader = Loader(lambda one, standing: models.load_ahead(str(one.path), OPTIONS, standing))
    made: list[weakref.ref[Any]] = []
    try:
        for now, then in zip(steps, [*steps[1:], None], strict=True):
            model = loader.take(now)
            assert isinstance(model, FlamingoModel)
            made.append(weakref.ref(model.engine.model))
            if then is not None:
                loader.read_ahead(then)
            assert said(model) == said(loaded(now.path))
            loader.let_go(now)
            del model
            gc.collect()
        assert len({id(one()) for one in made}) == 1, "all in one memory"
    finally:
        loader.close()
    gc.collect()
    assert made[0]() is None


@pytest.mark.slow
def test_another_checkpoint_than_the_one_read_ahead_is_opened_where_it_is_wanted(
    tmp_path: Path,
) -> None:
    folders = [checkpoint(tmp_path / str(n), seed=n) for n in range(3)]
    steps = [Checkpoint(n, folder) for n, folder in enumerate(folders)]
    loader = Loader(lambda one, standing: models.load_ahead(str(one.path), OPTIONS, standing))
    try:
        loader.take(steps[0])
        loader.read_ahead(steps[1])
        for step in (steps[2], steps[1]):
            model = loader.take(step)
            assert isinstance(model, FlamingoModel)
            assert said(model) == said(loaded(step.path))
    finally:
        loader.close()
