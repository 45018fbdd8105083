"""A live module is evaluated in the middle of its training, which goes on as if nobody asked."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from infimm_eval import flamingo, models
from infimm_eval.errors import UsageError
from infimm_eval.flamingo import hf
from infimm_eval.flamingo.processor import Processor
from infimm_eval.models.live import LiveModel
from tests.models.families import FAMILIES, MORE, library, saved
from tests.models.tiny import checkpoint, few_shot, painted, request

ALL = {"flamingo", *FAMILIES, "qwen3", "gemma3"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable.:FutureWarning"),
]


def made(kind: str, folder: Path) -> tuple[nn.Module, Any]:
    """A module and its processor, as a trainer holds them."""
    if kind == "flamingo":
        checkpoint(folder)
        return flamingo.load(folder), Processor.load(folder)
    place = saved(folder, {**FAMILIES, **MORE}[kind])
    processor = library.AutoProcessor.from_pretrained(place)
    return library.AutoModelForImageTextToText.from_pretrained(place), processor


@pytest.fixture(params=sorted(ALL))
def live(request: Any, tmp_path: Path) -> tuple[nn.Module, Any, Path]:
    return (*made(request.param, tmp_path), tmp_path)


def said(model: Any, asked: Any = None) -> dict[str, str]:
    return {a.id: a.text for a in model.generate(few_shot(6) if asked is None else asked)}


def test_a_live_module_answers_as_its_checkpoint_does(live):
    module, processor, folder = live
    module.train()
    if hasattr(module, "gradient_checkpointing_enable"):
        module.gradient_checkpointing_enable()
        module.config.use_cache = False
    options = (" a dog", " no")
    with models.wrap(module, processor) as model:
        stored = models.load(str(folder), device="cpu")
        assert said(model) == said(stored)
        assert model.style == stored.style
        asked = few_shot(3, options=options)
        expected = {a.id: a.logliks for a in stored.rank(asked)}
        for answer in model.rank(asked):
            assert answer.logliks == pytest.approx(expected[answer.id], abs=1e-4)
        differing = {"fingerprint", "fingerprint_of"}
        assert {k: v for k, v in model.settings.items() if k not in differing} == {
            k: v for k, v in stored.settings.items() if k not in differing
        }


def state(module: nn.Module) -> dict[str, Any]:
    """Everything that an evaluation could leave behind in a module or in the process."""
    parts = dict(module.named_modules())
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {
        "modes": {name: part.training for name, part in parts.items()},
        "attributes": {name: sorted(vars(part)) for name, part in parts.items()},
        "hooks": {
            name: [
                len(getattr(part, kind))
                for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
            ]
            for name, part in parts.items()
        },
        "tensors": {
            name: (
                tensor.data_ptr(),
                tensor._version,
                tensor.requires_grad,
                tensor.dtype,
                tensor.device,
                tensor.detach().clone().numpy().tobytes(),
                None if tensor.grad is None else tensor.grad.numpy().tobytes(),
            )
            for name, tensor in tensors
        },
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": torch.is_autocast_enabled("cpu"),
        "generation": str(getattr(module, "generation_config", "")),
    }


def unusual(module: nn.Module) -> None:
    """A trainer's choices: some parts frozen, some in evaluation mode, a gradient, a hook."""
    module.train()
    first, *_, last = module.parameters()
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    next(iter(module.children())).eval()
    module.register_forward_hook(lambda *_: None)


def test_nothing_of_the_module_or_the_process_is_changed(live):
    module, processor, _ = live
    unusual(module)
    padding = getattr(getattr(processor, "tokenizer", None), "padding_side", None)
    before = state(module)
    with models.wrap(module, processor) as model:
        said(model)
        assert state(module) == before, "between answers, too"
        list(model.rank(few_shot(2, options=(" a", " b"))))
        model.settings, model.style, model.statistics  # noqa: B018
        assert state(module) == before
    assert state(module) == before
    assert getattr(getattr(processor, "tokenizer", None), "padding_side", None) == padding


def test_a_module_is_left_as_it_was_while_an_answer_is_in_hand_and_the_rest_is_not(live):
    module, processor, _ = live
    unusual(module)
    before = state(module)
    model = models.wrap(module, processor, batch_size=2)
    answers = model.generate(few_shot(9))
    next(answers)
    assert state(module) == before
    model.close()
    assert list(answers) == []
    assert state(module) == before


class Noisy(nn.Linear):
    """A layer that throws dice of every kind, in every mode."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        random.random(), np.random.rand(), torch.rand(1)
        return super().forward(x)


def test_dice_that_a_module_throws_are_put_back(tmp_path):
    module, processor = made("llava", tmp_path)
    module.lm_head.__class__ = Noisy
    before = state(module)
    with models.wrap(module, processor) as model:
        said(model)
        assert state(module) == before


class Dropping(nn.Linear):
    """A layer with dropout, which shows the mode that it is in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(x), 0.1, self.training)


def training(
    module: Any, loss: Callable[[Any], torch.Tensor], between: Callable[[], None]
) -> list[Any]:
    """Four steps of AdamW with dropout, ``between`` being called in the middle of the third."""
    for name, part in module.named_modules():
        if name.endswith("o_proj"):
            part.__class__ = Dropping
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    seen: list[Any] = []
    for step in range(4):
        optimizer.zero_grad()
        dice = torch.rand(8).to(module.device) * random.random() * np.random.rand()
        value = (loss(module) * dice).sum()
        if step == 2:
            between()
        value.backward()
        optimizer.step()
        seen.append(value.item())
    return [*seen, *(p.detach().cpu().numpy().tobytes() for p in module.parameters())]


def flamingo_loss(module: Any) -> torch.Tensor:
    pixels = torch.linspace(-1, 1, 2 * 3 * 28 * 28, device=module.device).view(2, 3, 28, 28)
    latents = module.encode_images(pixels)[None]
    ids = torch.tensor([[1, 4, 20, 21, 3, 4, 22, 23]], device=module.device)
    return module(ids, None, latents).log_softmax(-1)[0, :, 20]


def llava_loss(module: Any) -> torch.Tensor:
    ids = torch.tensor([[1, 3, 3, 3, 3, 40, 41, 42]], device=module.device)
    pixels = torch.linspace(-1, 1, 3 * 28 * 28, device=module.device).view(1, 3, 28, 28)
    return module(input_ids=ids, pixel_values=pixels).logits.log_softmax(-1)[0, :, 40]


@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "under autocast"])
@pytest.mark.parametrize("kind", ["flamingo", "llava"])
def test_a_training_run_with_an_evaluation_in_its_middle_ends_bit_for_bit_as_one_without(
    kind, autocast, tmp_path
):
    module, processor = made(kind, tmp_path)
    loss = {"flamingo": flamingo_loss, "llava": llava_loss}[kind]
    twin = copy.deepcopy(module)
    answered = []

    def evaluate() -> None:
        with models.wrap(module, processor) as model:
            answered.append(said(model))
        midway = models.wrap(module, processor, batch_size=1)
        next(midway.generate(few_shot(9)))
        answered.append(midway)  # never closed

    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = training(twin, loss, lambda: None)
        found = training(module, loss, evaluate)
    assert found == expected
    assert len(answered[0]) == 6


def test_answers_do_not_depend_on_the_autocast_around_them(tmp_path):
    module, processor = made("flamingo", tmp_path)
    with models.wrap(module, processor) as model:
        expected = {a.id: a.logliks for a in model.rank(few_shot(4, options=("red", "dog")))}
        with torch.autocast("cpu", torch.bfloat16):
            found = {a.id: a.logliks for a in model.rank(few_shot(4, options=("red", "dog")))}
    assert found == expected


@pytest.mark.parametrize("kind", ["flamingo", "llava"])
@pytest.mark.parametrize("write", ["step", "data", "replace"])
def test_weights_that_were_trained_since_are_seen_without_a_word(kind, write, tmp_path):
    module, processor = made(kind, tmp_path)
    model = models.wrap(module, processor)
    first, before = model.settings["fingerprint"], said(model)
    assert model.settings["fingerprint"] == first
    with torch.no_grad():
        for parameter in module.parameters():
            if write == "step":
                parameter.mul_(-1.5)
            elif write == "data":
                parameter.data.mul_(-1.5)
            else:
                parameter.data = parameter.data * -1.5
    fresh = said(models.wrap(module, processor))
    assert said(model) == fresh != before
    assert model.settings["fingerprint"] != first
    assert model.statistics["requests"] == 12


def test_a_fingerprint_is_of_every_number_and_of_the_words(tmp_path):
    module, processor = made("llava", tmp_path)

    def seen() -> str:
        with models.wrap(module, processor) as model:
            return model.settings["fingerprint"]

    first = seen()
    module.train()
    assert seen() == first
    weight = module.lm_head.weight
    with torch.no_grad():
        weight[5, 7] += 1e-3
    second = seen()
    assert second != first
    processor.image_processor.size = {"height": 56, "width": 56}
    assert seen() not in (first, second)


def test_hooks_that_change_what_a_module_computes_are_part_of_it(tmp_path):
    module, processor = made("llava", tmp_path)
    plain = said(models.wrap(module, processor))
    handle = module.lm_head.register_forward_hook(lambda _, __, out: -out)
    assert said(models.wrap(module, processor)) != plain
    handle.remove()
    assert said(models.wrap(module, processor)) == plain


def test_what_trainers_put_around_a_module_is_taken_off(tmp_path):
    module, processor = made("llava", tmp_path)
    expected = said(models.wrap(module, processor))
    around = nn.DataParallel(module)
    assert said(models.wrap(around, processor)) == expected
    assert (
        models.wrap(torch.compile(module), processor).settings["architecture"].startswith("Llava")
    )


def test_what_the_auto_classes_give_for_infimm_is_a_flamingo_too(tmp_path):
    module, processor = made("flamingo", tmp_path)
    shell, reader = hf.InfiMM(hf.InfiMMConfig(), module), hf.InfiMMProcessor(processor)
    assert said(models.wrap(shell, reader)) == said(models.wrap(module, processor))


class Spread(nn.Module):
    pass


Spread.__name__ = "FullyShardedDataParallel"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(2, 2), r"wrap takes a Flamingo or a model of transformers, not 'Linear'"),
        ("demo", "wrap takes a torch.nn.Module, not 'str'"),
        (Spread(), "spread over processes"),
        (nn.Linear(2, 2, device="meta"), "not in memory"),
    ],
)
def test_a_module_that_cannot_be_asked_is_refused_in_one_line(module, message):
    with pytest.raises(UsageError, match=message) as caught:
        models.wrap(module, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["flamingo", "llava"])
def test_a_processor_of_another_kind_is_refused_with_what_would_work(kind, tmp_path):
    module, _ = made(kind, tmp_path)
    with pytest.raises(UsageError, match=r"wrapped with its [Pp]rocessor"):
        models.wrap(module, object())


def test_an_option_that_there_is_not_is_refused_with_those_that_there_are(tmp_path):
    module, processor = made("flamingo", tmp_path)
    with pytest.raises(
        UsageError, match=r"unknown option 'batchsize' of wrap; it takes batch_size"
    ):
        models.wrap(module, processor, batchsize=3)


def test_closing_twice_is_as_good_as_once_and_a_closed_model_answers_again(tmp_path):
    module, processor = made("llava", tmp_path)
    model = models.wrap(module, processor)
    first = said(model)
    model.close()
    model.close()
    assert said(model) == first
    assert model.statistics["requests"] == 12
    assert isinstance(model, LiveModel)


def test_a_name_and_a_style_of_ones_own_are_taken(tmp_path):
    module, processor = made("llava", tmp_path)
    model = models.wrap(module, processor, name="step 400", style="completion")
    assert (model.name, model.style) == ("step 400", "completion")
    assert models.wrap(module, processor).style == "instruct"
    (answer,) = model.generate([request("1", (painted(1), "Output:"))])
    assert answer.id == "1"
