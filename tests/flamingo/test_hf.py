"""The model card's quick start, on a small checkpoint in the published layout."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, FlamingoConfig, hf
from infimm_eval.flamingo.checkpoint import save_pretrained
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.hf import InfiMM, InfiMMProcessor
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.tokenizer import Tokenizer

GOLDEN = Path(__file__).parents[2].parent / "shared" / "parity" / "zephyr_tiny"
PROMPTS = GOLDEN.parent / "processor" / "prompts.json"
VISUAL = {"image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14}
LANGUAGE = {
    "model_type": "mistral",
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "sliding_window": 64,
    "pad_token_id": 2,
}
CONFIG = {
    "architectures": ["InfiMMZephyrModel"],
    "auto_map": {"AutoModelForCausalLM": "modeling_infimm_zephyr.InfiMMZephyrModel"},
    "model_type": "infimm-zephyr",
    "torch_dtype": "bfloat16",
    "cross_attn_every_n_layers": 2,
    "image_token_id": 4,
    "eoc_token_id": 3,
    "visual": VISUAL,
    "language": LANGUAGE,
}
PREPROCESSOR = {
    "auto_map": {"AutoProcessor": "processing_infimm_zephyr.InfiMMZephyrProcessor"},
    "image_size": 28,
}
PROMPT = [{"role": "user", "content": [{"image": "cat.png"}, "Please explain this image to me."]}]


@pytest.fixture
def checkpoint(tmp_path: Path, wordwise: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of random weights, and a picture beside it in the working directory."""
    torch.manual_seed(0)
    folder = tmp_path / "infimm-small"
    model = Flamingo(FlamingoConfig.from_dict(CONFIG))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(2)
            elif (parameter.ndim == 2 and name.startswith("perceiver")) or "gated" in name:
                parameter.mul_(8)
    save_pretrained(model, folder)
    wordwise.raw.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "pad_token": "</s>"}')
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hf.register()
    return folder


def processor_of(checkpoint: Path, **options: Any) -> Any:
    return AutoProcessor.from_pretrained(checkpoint, **options)  # type: ignore[no-untyped-call]


def model_of(checkpoint: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")


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
    assert type(AutoConfig.from_pretrained(checkpoint)) is hf.InfiMMConfig

    for auto in (AutoConfig, AutoModelForCausalLM, AutoProcessor):
        monkeypatch.setattr(auto, "register", None)
    found = spec_from_file_location("imported_again", hf.__file__)
    assert found and found.loader
    again = module_from_spec(found)
    monkeypatch.setitem(sys.modules, "imported_again", again)
    found.loader.exec_module(again)
    with pytest.raises(TypeError, match="not callable"):
        again.register()


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


def test_rows_of_different_length_end_in_slots_of_zeros(checkpoint: Path) -> None:
    processor = processor_of(checkpoint)
    two = [{"role": "user", "content": [{"image": "cat.png"}, {"image": "cat.png"}]}]
    none = [{"role": "user", "content": []}]
    pictures = processor([PROMPT, two, none])["batch_images"]
    assert pictures.shape == (3, 2, 1, 3, 28, 28)
    assert torch.equal(pictures[1, 0], pictures[1, 1]) and torch.equal(
        pictures[0, 0], pictures[1, 0]
    )
    assert not pictures[0, 1].any() and not pictures[2].any()


def test_without_a_picture_there_is_a_black_one_that_nobody_encodes(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    inputs = processor([{"role": "user", "content": "what is this ?"}])
    assert inputs["batch_images"].shape == (1, 1, 1, 3, 28, 28)
    assert inputs["batch_images"][0, 0, 0, :, 0, 0].tolist() == pytest.approx(
        [-1.7922625542, -1.7520971298, -1.4802198410]
    )
    monkeypatch.setattr(model.model, "encode_images", None)
    model.generate(**inputs, min_generation_length=1, max_generation_length=2)


def test_an_ended_answer_shows_its_end_and_is_padded(checkpoint: Path) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    table = model.model.lang_encoder.lm_head.weight
    inputs = processor([PROMPT, [{"role": "user", "content": "red ?"}]])
    free = model.generate(**inputs, min_generation_length=4, max_generation_length=4)
    with torch.no_grad():
        table[2] = table[free[0, 1]] * 1.001
    ended = model.generate(**inputs, min_generation_length=0, max_generation_length=4)
    assert 2 in ended[0].tolist()
    after = ended[0].tolist()[ended[0].tolist().index(2) :]
    assert set(after) == {2}


def test_pictures_leave_with_the_turns_that_held_them(checkpoint: Path) -> None:
    settings = '{"model_max_length": 40, "eos_token": "</s>"}'
    (checkpoint / "tokenizer_config.json").write_text(settings)
    processor = processor_of(checkpoint)
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    said = [
        {"role": "user", "content": [{"image": red}, "what is this ? " * 9]},
        {"role": "assistant", "content": "red"},
        {"role": "user", "content": [{"image": blue}, "what is this ?"]},
    ]
    inputs = processor(said)
    assert inputs["input_ids"].eq(4).sum() == 1
    assert torch.equal(inputs["batch_images"], processor(said[2:])["batch_images"])


def test_faithful_repeats_what_the_assistant_said(checkpoint: Path) -> None:
    said = [*PROMPT, {"role": "assistant", "content": "a cat"}]
    plain, faithful = (
        processor_of(checkpoint, faithful=flag)(said)["input_ids"][0].tolist()
        for flag in (False, True)
    )
    assert len(faithful) > len(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"text": "hello"}, "world"], r"not {'text': 'hello'}"),
        ([{"image": "dog.png"}], r"dog\.png: there is no such file"),
    ],
)
def test_content_that_cannot_be_shown_is_named(
    checkpoint: Path, content: list[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        processor_of(checkpoint)([{"role": "user", "content": content}])


def test_what_is_not_built_is_refused(checkpoint: Path) -> None:
    processor, model = processor_of(checkpoint), model_of(checkpoint)
    inputs = processor(PROMPT)
    lengths = {"min_generation_length": 0, "max_generation_length": 2}
    with pytest.raises(UsageError, match="do_sample"):
        model.generate(**inputs, **lengths, do_sample=True)
    with pytest.raises(UsageError, match=r"should be \(B, I, 1, 3, H, W\)"):
        model.generate(**dict(inputs) | {"batch_images": torch.zeros(1, 3, 28, 28)}, **lengths)
    with pytest.raises(UsageError, match="without load_in_8bit"):
        InfiMM.from_pretrained(checkpoint, load_in_8bit=True)
    everywhere: Any = {"": 0}
    with pytest.raises(UsageError, match="one device"):
        InfiMM.from_pretrained(checkpoint, device_map=everywhere)


def test_a_name_that_is_neither_folder_nor_cached_says_so(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="Infi-MM/nothing is no folder here"):
        InfiMM.from_pretrained("Infi-MM/nothing", local_files_only=True)


def test_saving_writes_the_original_layout_back(checkpoint: Path, tmp_path: Path) -> None:
    model = model_of(checkpoint)
    model.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (checkpoint / name).read_bytes()


@pytest.mark.skipif(not PROMPTS.is_file(), reason="the golden prompts are not here")
def test_decoding_is_the_originals(zephyr: Tokenizer) -> None:
    golden = json.loads(PROMPTS.read_text())
    ids = next(case["input_ids"] for case in golden["cases"] if case["name"] == "readme_example")
    processor = InfiMMProcessor(Processor(zephyr))
    assert processor.batch_decode([ids], True) == golden["decode"]["skip_special"]
    assert processor.decode(ids, True) == zephyr.decode(ids)


SEARCHES: dict[str, tuple[int, dict[str, Any]]] = {
    "greedy": (0, {}),
    "greedy_forced": (16, {}),
    "beam3": (0, {"num_beams": 3}),
    "beam3_forced": (16, {"num_beams": 3}),
    "beam3_lp_m2": (0, {"num_beams": 3, "length_penalty": -2.0}),
    "beam3_lp0": (0, {"num_beams": 3, "length_penalty": 0.0}),
    "beam3_early": (0, {"num_beams": 3, "early_stopping": True}),
}


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden checkpoint is not here")
@pytest.mark.parametrize("batch", ["mixed", "single", "noimg"])
@pytest.mark.parametrize("search", SEARCHES)
def test_ids_are_those_of_the_original_code(batch: str, search: str) -> None:
    hf.register()
    with np.load(GOLDEN / "golden.npz") as golden:
        inputs, mask, pixels, expected = (
            torch.from_numpy(golden[f"{batch}.{name}"])
            for name in ("input_ids", "attention_mask", "pixel_values", f"{search}.ids")
        )
    least, options = SEARCHES[search]
    ids = model_of(GOLDEN).generate(inputs, mask, pixels, least, 16, **options)
    assert ids.tolist() == expected.tolist()
