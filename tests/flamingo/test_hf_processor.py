"""Conversations in the model card's form, and what is said of those in another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.hf import InfiMMProcessor
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.tokenizer import Tokenizer
from tests.flamingo.card import PROMPT, model_of, processor_of
from tests.golden.recorded import PARITY

PROMPTS = PARITY / "processor" / "prompts.json"


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
    with pytest.warns(UserWarning, match=r"conversation 0 .* 1 exchange\(s\), 1 picture\(s\)"):
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


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"text": "hello"}, "world"], r"not {'text': 'hello'}"),
        (
            [{"image": "cat.png", "text": "hello"}],
            r"a turn holds strings and .*, not",
        ),
        ([{"image": "dog.png"}], r"dog\.png: there is no such file"),
        ([{"image": np.zeros((9, 9, 3))}], r"path, bytes or PIL\.Image, not a ndarray$"),
        ([{"image": "https://a.b/cat.png"}], r"^https://a\.b/cat\.png: addresses are not opened"),
        (None, "a string or a list, not None"),
    ],
)
def test_content_that_cannot_be_shown_is_named(
    checkpoint: Path, content: list[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        processor_of(checkpoint)([{"role": "user", "content": content}])


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], r"a list of turns, not \[\]"),
        ("What is this?", "a list of turns, not 'What is this"),
        (["What is this?"], "a list of turns, not 'What is this"),
        ([[]], "at least one turn"),
        ([{"role": "user"}], r"not {'role': 'user'}"),
        ([{"content": "a"}], r"not {'content': 'a'}"),
        ([{"role": "user", "content": "a", "name": "Ann"}], "a turn is"),
        ([{"role": "tool", "content": "a"}], "unknown role 'tool'"),
        ([["a"]], "a turn is .*, not 'a'"),
    ],
)
def test_what_is_no_conversation_is_refused(checkpoint: Path, prompts: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        processor_of(checkpoint)(prompts)


def test_a_prompt_may_leave_room_for_its_answer(checkpoint: Path) -> None:
    processor = processor_of(checkpoint)
    said = [{"role": "user", "content": "what is this ?"}]
    whole = processor(said)["input_ids"]
    assert torch.equal(processor(said, max_length=whole.shape[1])["input_ids"], whole)
    with pytest.raises(UsageError, match=f"room for {whole.shape[1] - 1}"):
        processor(said, max_length=whole.shape[1] - 1)
    with pytest.raises(UsageError, match="counts from 1"):
        processor(said, max_length=0)
    with pytest.raises(UsageError, match="without return_tensors; known: max_length"):
        processor(said, return_tensors="pt")


@pytest.mark.parametrize("file", ["preprocessor_config.json", "tokenizer_config.json"])
def test_a_file_may_name_the_processors_class(checkpoint: Path, file: str) -> None:
    written = json.loads((checkpoint / file).read_text())
    named = written | {"processor_class": "InfiMMZephyrProcessor"}
    (checkpoint / file).write_text(json.dumps(named))
    assert type(processor_of(checkpoint)).__name__ == "InfiMMZephyrProcessor"
    assert isinstance(processor_of(checkpoint), InfiMMProcessor)


@pytest.mark.parametrize("chat_format", [None, "vicuna", "shipped"])
def test_a_saved_processor_reads_alike_without_its_model(
    checkpoint: Path, tmp_path: Path, chat_format: str | None
) -> None:
    (checkpoint / "chat_template.jinja").write_text("{{ messages[1].content }} question: </s>")
    if chat_format:
        settings = json.loads((checkpoint / "preprocessor_config.json").read_text())
        settings["chat_format"] = chat_format
        (checkpoint / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = processor_of(checkpoint)
    processor.save_pretrained(tmp_path / "again")
    again = processor_of(tmp_path / "again")
    assert again(PROMPT)["input_ids"].tolist() == processor(PROMPT)["input_ids"].tolist()
    assert again(PROMPT)["batch_images"].equal(processor(PROMPT)["batch_images"])
    again.save_pretrained(tmp_path / "again")
    assert processor_of(tmp_path / "again")(PROMPT)["input_ids"].equal(again(PROMPT)["input_ids"])


def test_a_processor_without_files_cannot_be_saved(tmp_path: Path, wordwise: Tokenizer) -> None:
    processor = InfiMMProcessor(Processor(wordwise))
    with pytest.raises(UsageError, match="came from no checkpoint"):
        processor.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="without push_to_hub"):
        processor.save_pretrained(tmp_path, push_to_hub=True)


@pytest.mark.slow
def test_decoding_is_the_originals(zephyr: Tokenizer) -> None:
    golden = json.loads(PROMPTS.read_text())
    ids = next(case["input_ids"] for case in golden["cases"] if case["name"] == "readme_example")
    processor = InfiMMProcessor(Processor(zephyr))
    assert processor.batch_decode([ids], True) == golden["decode"]["skip_special"]
    assert processor.decode(ids, True) == zephyr.decode(ids)
