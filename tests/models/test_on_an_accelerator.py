"""What only an accelerator shows: recordings, its memory giving out, its clock."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from infimm_eval import models
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.models.flamingo.model import FlamingoModel
from infimm_eval.types import Request
from tests.flamingo.small import generate, small
from tests.flamingo.test_cuda_graphs import prompts
from tests.models.families import FAMILIES, saved
from tests.models.test_live import flamingo_loss, llava_loss, made, training
from tests.models.tiny import checkpoint, few_shot

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("checkpoint"))


def load(folder: Path, **options) -> FlamingoModel:
    return models.load(str(folder), **{"device": "cuda", "dtype": "float32"} | options)


def texts(model: FlamingoModel, asked: list[Request]) -> dict[str, str]:
    return {answer.id: answer.text for answer in model.generate(asked)}


@pytest.mark.parametrize("beams", [1, 3])
def test_a_recording_says_what_computing_says(beams):
    model = small().cuda()
    ids, mask, latents, n_images = (t.cuda() for t in prompts(small()))
    options = {"max_new_tokens": 20, "num_beams": beams, "eos_ids": [2, 30]}
    expected = generate(
        model, ids, mask, latents, n_images, graphs=CudaGraphs(after=None), **options
    )
    recorder = CudaGraphs(after=2)
    found = generate(model, ids, mask, latents, n_images, graphs=recorder, **options)
    assert recorder.count >= 1
    assert [a.ids for a in found] == [a.ids for a in expected]


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_every_prompt_alone_and_of_a_processor(folder, beams):
    asked = few_shot(40, num_beams=beams, length_penalty=0.0, max_new_tokens=12)
    expected = texts(models.load(str(folder), device="cpu", batch_size=1), asked)
    assert len(set(expected.values())) > 6, "the model should not say one thing only"
    for options in ({"batch_size": 1}, {"batch_size": 7}, {"batch_size": "auto"}):
        model = load(folder, **options)
        assert texts(model, asked) == expected
        assert model.statistics["recordings"] >= 1
        assert model.statistics["seconds_recording"] > 0
        assert model.statistics["seconds_decode"] > 0
    assert texts(load(folder, recording=False), asked) == expected


def test_memory_that_gives_out_halves_the_batch_and_loses_no_answer(folder):
    asked = few_shot(96)
    expected = texts(load(folder), asked)
    model = load(folder, batch_size=96)
    torch.cuda.empty_cache()
    device = torch.cuda.current_device()
    total = torch.cuda.get_device_properties(device).total_memory
    room = torch.cuda.memory_allocated() + (24 << 20)
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        assert texts(model, asked) == expected
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert model.statistics["oom_halvings"] >= 1


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("family", ["llava", "idefics", "idefics2", "qwen2"])
def test_other_models_say_the_same_with_and_without_sharing(family, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    place = f"hf:{saved(tmp_path, FAMILIES[family])}"
    options = {"device": "cuda", "dtype": "float32"}
    plain, sharing = (models.load(place, sharing=on, **options) for on in (False, True))
    asked = few_shot(12)
    assert texts(sharing, asked) == texts(plain, asked)
    assert sharing.statistics["pictures_encoded"] == sharing.statistics["pictures_distinct"]
    ranked = few_shot(6, options=(" a dog", " a very large house", " no"))
    expected = {answer.id: answer.logliks for answer in plain.rank(ranked)}
    for answer in sharing.rank(ranked):
        assert answer.logliks == pytest.approx(expected[answer.id], abs=1e-3)
    assert sharing.statistics["prompts_read_once"] == 5


def test_bfloat16_is_what_an_accelerator_computes_in(folder):
    assert load(folder, dtype="auto").settings["dtype"] == "bfloat16"
    assert texts(load(folder, dtype="auto"), few_shot(8))


@pytest.mark.parametrize("kind", ["flamingo", "llava"])
def test_a_training_run_goes_on_bit_for_bit_as_if_nobody_had_evaluated(kind, tmp_path):
    module, processor = made(kind, tmp_path)
    module.cuda()
    loss = {"flamingo": flamingo_loss, "llava": llava_loss}[kind]
    twin = copy.deepcopy(module)

    def evaluate() -> None:
        with models.wrap(module, processor) as model:
            assert len(texts(model, few_shot(6))) == 6
        midway = models.wrap(module, processor, batch_size=1).generate(few_shot(9))
        next(midway)

    torch.use_deterministic_algorithms(True)
    try:
        with torch.autocast("cuda", torch.bfloat16):
            expected = training(twin, loss, lambda: None)
            found = training(module, loss, evaluate)
    finally:
        torch.use_deterministic_algorithms(False)
    assert found == expected
