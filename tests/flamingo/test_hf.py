"""The model card's quick start, on a small checkpoint in the published layout."""

from __future__ import annotations

import json
import pickle
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

import infimm_eval
from infimm_eval.errors import UsageError
from infimm_eval.flamingo import gather_pictures, hf
from infimm_eval.flamingo.hf import InfiMM, InfiMMProcessor
from tests.flamingo.card import PROMPT, model_of, processor_of
from tests.flamingo.small import generate
from tests.golden.recorded import recorded

DEMO = Path(infimm_eval.__file__).parent / "demo" / "checkpoint"


def test_the_quick_start_runs_as_printed(checkpoint: Path) -> None:
    processor = AutoProcessor.from_pretrained(str(checkpoint))  # type: ignore[no-untyped-call]
    inputs = processor(PROMPT)
    model = AutoModelForCausalLM.from_pretrained(
        str(checkpoint), local_files_only=True, torch_dtype=torch.bfloat16
    ).eval()  # type: ignore[no-untyped-call]
    inputs = inputs.to(model.device)
    inputs["batch_images"] = inputs["batch_images"].to(torch.bfloat16)
    generated_ids = model.generate(**inputs, min_generation_length=0, max_generation_length=9)
    generated_text = processor.batch_decode(generated_ids, skip_special_tokens=True)

    assert isinstance(model, InfiMM) and model.dtype == torch.bfloat16
    assert generated_ids.shape[0] == 1 and 1 <= generated_ids.shape[1] <= 9
    assert [type(text) for text in generated_text] == [str]


def test_trust_remote_code_changes_nothing(checkpoint: Path) -> None:
    processor = processor_of(checkpoint, trust_remote_code=True)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)
    assert isinstance(processor, InfiMMProcessor) and isinstance(model, InfiMM)


def test_registering_is_explicit_and_may_be_repeated(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.register()
    assert isinstance(AutoConfig.from_pretrained(checkpoint), hf.InfiMMConfig)

    for auto in (AutoConfig, AutoModelForCausalLM, AutoProcessor):
        monkeypatch.setattr(auto, "register", None)
    found = spec_from_file_location("imported_again", hf.__file__)
    assert found and found.loader
    again = module_from_spec(found)
    monkeypatch.setitem(sys.modules, "imported_again", again)
    found.loader.exec_module(again)
    with pytest.raises(TypeError, match="not callable"):
        again.register()


@pytest.mark.slow
def test_the_dtype_is_the_checkpoints_unless_one_says_otherwise(checkpoint: Path) -> None:
    load: Any = AutoModelForCausalLM.from_pretrained
    assert load(checkpoint).dtype == load(checkpoint, torch_dtype="auto").dtype == torch.bfloat16
    assert load(checkpoint, dtype=torch.float32).dtype == torch.float32
    with pytest.raises(UsageError, match="no dtype 'float31'"):
        InfiMM.from_pretrained(checkpoint, dtype="float31")


def test_answers_are_the_flamingos_own(checkpoint: Path) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    inputs = processor(PROMPT)
    answer = model.generate(**inputs, min_generation_length=5, max_generation_length=5)
    latents = model.model.encode_images(inputs["batch_images"][0, :, 0])[None]
    direct = generate(
        model.model,
        inputs["input_ids"],
        None,
        latents,
        max_new_tokens=5,
        min_new_tokens=5,
        banned_ids={4},
    )
    assert answer.tolist() == [list(direct[0].ids)]
    inputs["batch_images"] *= -3
    other = model.generate(**inputs, min_generation_length=5, max_generation_length=5)
    assert not torch.equal(answer, other), "a picture without influence would prove nothing"


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_a_conversation_is_answered_alike_alone_and_in_a_batch(
    checkpoint: Path, beams: int
) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    shots = [{"image": "cat.png"}, "red cat", {"image": Image.new("RGB", (9, 9), "red")}, "what ?"]
    conversations = [
        [{"role": "user", "content": "what is this ?"}],
        [{"role": "user", "content": shots}],
        [*PROMPT, {"role": "assistant", "content": "a cat"}, *PROMPT],
    ]
    settings = {
        "min_generation_length": 6,
        "max_generation_length": 6,
        "num_beams": beams,
        "beam_length_rule": "transformers",
    }
    together = model.generate(**processor(conversations), **settings)
    alone = [model.generate(**processor(said), **settings)[0] for said in conversations]
    assert torch.equal(together, torch.stack(alone))


def test_an_ended_answer_shows_its_end_and_is_padded(checkpoint: Path) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    table = model.model.decoder.lm_head.weight
    inputs = processor([PROMPT, [{"role": "user", "content": "red ?"}]])
    free = model.generate(**inputs, min_generation_length=4, max_generation_length=4)
    with torch.no_grad():
        table[2] = table[free[0, 1]] * 1.001
    ended = model.generate(**inputs, min_generation_length=0, max_generation_length=4)
    assert 2 in ended[0].tolist()
    after = ended[0].tolist()[ended[0].tolist().index(2) :]
    assert set(after) == {2}


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_sample": True}, "leave out do_sample"),
        ({"temperature": 0.5}, "without temperature; known: num_beams"),
        ({"num_return_sequences": 3}, "without num_return_sequences"),
        ({"max_new_tokens": 9}, "max_generation_length for min_new_tokens and max_new_tokens"),
        ({"max_generation_length": None}, "needs max_generation_length"),
        ({"batch_images": torch.zeros(1, 3, 28, 28)}, r"should be \(B, I, 1, 3, H, W\)"),
        ({"batch_images": torch.zeros(2, 1, 1, 3, 28, 28)}, "with B 1, not"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(
    checkpoint: Path, options: dict[str, Any], message: str
) -> None:
    inputs = dict(processor_of(checkpoint)(PROMPT)) | {"max_generation_length": 2}
    with pytest.raises(UsageError, match=message):
        model_of(checkpoint).generate(**inputs | options)


def test_a_way_of_loading_that_is_not_built_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="without load_in_8bit"):
        InfiMM.from_pretrained(checkpoint, load_in_8bit=True)
    everywhere: Any = {"": 0}
    with pytest.raises(UsageError, match="one device"):
        InfiMM.from_pretrained(checkpoint, device_map=everywhere)
    with pytest.raises(UsageError, match=r"flamingo\.build\(config"):
        AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.from_pretrained(checkpoint)
        )


def test_a_changed_configuration_is_refused_and_a_stated_dtype_obeyed(checkpoint: Path) -> None:
    load: Any = AutoModelForCausalLM.from_pretrained
    config = AutoConfig.from_pretrained(checkpoint)
    config.dtype = torch.float32
    assert load(checkpoint, config=config).dtype == torch.float32
    config.cross_attn_every_n_layers = 1
    with pytest.raises(UsageError, match=r"differs in cross_attn_every_n_layers; change the file"):
        load(checkpoint, config=config)
    with pytest.raises(UsageError, match="differs in image_token_id"):
        load(checkpoint, image_token_id=3)
    with pytest.raises(UsageError, match="differs in attn_implementation"):
        load(checkpoint, attn_implementation="eager")
    text: Any = "config.json"
    with pytest.raises(UsageError, match="should come from AutoConfig, not a str"):
        InfiMM.from_pretrained(checkpoint, config=text)


def test_the_number_of_heads_may_be_told(checkpoint: Path) -> None:
    assert model_of(checkpoint).model.config.resampler.heads == 8
    model = AutoModelForCausalLM.from_pretrained(checkpoint, resampler_heads=16)
    assert model.model.config.resampler.heads == 16


def test_logits_are_the_flamingos_own_and_can_be_learnt_from(checkpoint: Path) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    inputs = processor([PROMPT, [{"role": "user", "content": "what is this ?"}]])
    logits = model(**inputs).logits
    latents = model.model.encode_images(inputs["batch_images"][:1, 0, 0])
    direct = model.model(
        inputs["input_ids"], inputs["attention_mask"], *gather_pictures(latents, [[0], []])
    )
    assert torch.equal(logits, direct)
    logits.sum().backward()
    assert model.model.resampler.latents.grad.any()
    with pytest.raises(UsageError, match="without labels"):
        model(**inputs, labels=inputs["input_ids"])


def test_equal_pictures_are_encoded_once_and_zeros_between_pictures_are_one(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(checkpoint)
    red, blue, none = torch.full((3, 28, 28), 0.5), torch.full((3, 28, 28), -1.0), torch.zeros(())
    slots = [[red, blue, red], [none, red, none], [none, none, none], [blue, blue, blue]]
    images = torch.stack([torch.stack([p.expand(3, 28, 28) for p in row]) for row in slots])
    ids = torch.tensor([[1, 4, 4, 4], [1, 4, 4, 5], [1, 4, 5, 5], [1, 5, 5, 5]])
    encoded: list[torch.Tensor] = []
    own = model.model.encode_images

    def encode(pictures: torch.Tensor) -> torch.Tensor:
        encoded.extend(pictures)
        latents: torch.Tensor = own(pictures)
        return latents

    monkeypatch.setattr(model.model, "encode_images", encode)
    logits = model(ids, torch.ones_like(ids), images[:, :, None]).logits
    assert [picture[0, 0, 0].item() for picture in encoded] == [0.5, -1.0, 0.0]
    rows = [[0, 1, 0], [2, 0], [], []]
    direct = model.model(ids, None, *gather_pictures(own(torch.stack(encoded)), rows))
    assert torch.allclose(logits, direct, atol=1e-5)


def test_a_name_that_is_neither_folder_nor_cached_says_so(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="no folder Infi-MM/nothing here"):
        InfiMM.from_pretrained("Infi-MM/nothing", local_files_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_was_saved_is_loaded_again_dtype_included(
    checkpoint: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    for place, source in (("stated", checkpoint), ("unstated", DEMO)):
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
        model.save_pretrained(tmp_path / place, safe_serialization=True)
        again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / place)
        assert again.dtype == dtype
        weights = again.state_dict()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())
    written, read = (
        json.loads((folder / "config.json").read_text())
        for folder in (tmp_path / "stated", checkpoint)
    )
    assert list(written.items()) == list((read | {"torch_dtype": str(dtype)[6:]}).items())


def test_saving_otherwise_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    model = model_of(checkpoint)
    with pytest.raises(UsageError, match="leave out safe_serialization"):
        model.save_pretrained(tmp_path / "again", safe_serialization=False)
    with pytest.raises(UsageError, match="without max_shard_size"):
        model.save_pretrained(tmp_path / "again", max_shard_size="5GB")


KINDS = ["infimm", "infimm-vicuna", "infimm-vicuna13b", "infimm-llama", "infimm-llama13b"]


@pytest.mark.sampled
@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_a_checkpoint_may_have_is_known(checkpoint: Path, kind: str) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": kind}))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, low_cpu_mem_usage=True)
    assert isinstance(model, InfiMM) and model.config.model_type == kind
    assert isinstance(processor_of(checkpoint), InfiMMProcessor)


def test_processors_and_configurations_can_be_sent_to_other_processes(checkpoint: Path) -> None:
    processor, config = processor_of(checkpoint), AutoConfig.from_pretrained(checkpoint)
    sent: Any = pickle.loads(pickle.dumps(processor))
    assert type(sent) is type(processor) and torch.equal(
        sent(PROMPT)["input_ids"], processor(PROMPT)["input_ids"]
    )
    assert pickle.loads(pickle.dumps(config)).to_dict() == config.to_dict()


def test_the_demo_model_opens_like_any_other() -> None:
    hf.register()
    processor, model = processor_of(DEMO), model_of(DEMO)
    inputs = processor(
        [{"role": "user", "content": [{"image": Image.new("RGB", (64, 64), "red")}, "a"]}]
    )
    ids = model.generate(**inputs, max_generation_length=3)
    assert isinstance(processor, InfiMMProcessor) and 1 <= ids.shape[1] <= 3


SEARCHES: dict[str, tuple[int, dict[str, Any]]] = {
    "greedy": (0, {}),
    "greedy_forced": (16, {}),
    "beam3": (0, {"num_beams": 3}),
    "beam3_forced": (16, {"num_beams": 3}),
    "beam3_lp_m2": (0, {"num_beams": 3, "length_penalty": -2.0}),
    "beam3_lp0": (0, {"num_beams": 3, "length_penalty": 0.0}),
    "beam3_early": (0, {"num_beams": 3, "early_stopping": True}),
}


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["mixed", "single", "noimg"])
@pytest.mark.parametrize("search", SEARCHES)
def test_ids_are_those_of_the_original_code(batch: str, search: str) -> None:
    hf.register()
    folder = recorded("zephyr_tiny")
    with np.load(folder / "golden.npz") as golden:
        inputs, mask, pixels, expected = (
            torch.from_numpy(golden[f"{batch}.{name}"])
            for name in ("input_ids", "attention_mask", "pixel_values", f"{search}.ids")
        )
    least, options = SEARCHES[search]
    ids = model_of(folder).generate(inputs, mask, pixels, least, 16, **options)
    assert ids.tolist() == expected.tolist()


@pytest.mark.sampled
@pytest.mark.parametrize("batch", ["mixed", "single", "noimg"])
def test_logits_are_those_of_the_original_code(batch: str) -> None:
    hf.register()
    folder = recorded("zephyr_tiny")
    with np.load(folder / "golden.npz") as golden:
        inputs, mask, pixels, expected = (
            torch.from_numpy(golden[f"{batch}.{name}"])
            for name in ("input_ids", "attention_mask", "pixel_values", "logits")
        )
    logits = model_of(folder)(inputs, mask, pixels).logits
    assert torch.allclose(logits[mask.bool()], expected[mask.bool()], atol=1e-3)
