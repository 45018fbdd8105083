"""Tiny models of the transformers library with random weights, behind the same words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers as library
from tokenizers import decoders, pre_tokenizers
from tokenizers import models as tokenizer_models

from infimm_eval import models
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.transformers import Transformers
from infimm_eval.models.writing import neutral
from infimm_eval.types import Answer, Request
from tests.models.tiny import Painted, few_shot, painted, request

SPECIAL = ["<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<end_of_utterance>"]
CHARACTERS = [*map(chr, range(33, 127)), "\u0120", "\u010a"]
"""In byte-level spelling: the last two are the space and the line break."""
TEXT: dict[str, Any] = {
    "vocab_size": len(SPECIAL) + len(CHARACTERS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 400,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokenizer(special: list[str] = SPECIAL) -> Any:
    """One token for each printable ASCII character, and the special ones."""
    vocabulary = {token: i for i, token in enumerate([*special, *CHARACTERS])}
    raw = tokenizers.Tokenizer(tokenizer_models.BPE(vocabulary, [], unk_token=None))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return library.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=special[3:],
    )


def llava(template: str | None) -> tuple[Any, Any]:
    config = library.LlavaConfig(
        vision_config={"model_type": "siglip_vision_model", **SIGLIP, "vision_use_head": False},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=3,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    pictures = library.SiglipImageProcessor(size={"height": 28, "width": 28})
    processor = library.LlavaProcessor(
        pictures,
        tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="full",
        chat_template=template,
    )
    return library.LlavaForConditionalGeneration(config), processor


def idefics2(template: str | None) -> tuple[Any, Any]:
    config = library.Idefics2Config(
        vision_config=SIGLIP,
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 3,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "num_key_value_heads": 1,
            "resampler_head_dim": 16,
        },
        text_config={"model_type": "mistral", **TEXT},
        image_token_id=3,
    )
    pictures = library.Idefics2ImageProcessor(
        size={"shortest_edge": 28, "longest_edge": 28}, do_image_splitting=False
    )
    processor = library.Idefics2Processor(
        pictures, tokenizer(), image_seq_len=3, chat_template=template
    )
    return library.Idefics2ForConditionalGeneration(config), processor


def idefics3(template: str | None) -> tuple[Any, Any]:
    config = library.Idefics3Config(
        vision_config=SIGLIP,
        text_config={"model_type": "llama", **TEXT},
        image_token_id=3,
        scale_factor=1,
    )
    pictures = library.Idefics3ImageProcessor(
        size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
    )
    processor = library.Idefics3Processor(
        pictures, tokenizer(), image_seq_len=4, chat_template=template
    )
    return library.Idefics3ForConditionalGeneration(config), processor


def idefics(_: str | None) -> tuple[Any, Any]:
    vision = {"embed_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = library.IdeficsConfig(
        **{**TEXT, "vocab_size": TEXT["vocab_size"] - 2},
        additional_vocab_size=2,
        vision_config={**vision, "image_size": 28, "patch_size": 14, "intermediate_size": 48},
        cross_layer_interval=1,
        use_resampler=False,
    )
    pictures = library.IdeficsImageProcessor(image_size=28)
    return library.IdeficsForVisionText2Text(config), library.IdeficsProcessor(
        pictures, tokenizer()
    )


QWEN = ["<pad>", "<s>", "</s>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"]


def qwen2(template: str | None) -> tuple[Any, Any]:
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
    config = library.Qwen2VLConfig(
        text_config={**TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        vision_config=vision,
        image_token_id=3,
        video_token_id=TEXT["vocab_size"] - 1,
        vision_start_token_id=4,
    )
    processor = library.Qwen2VLProcessor(
        library.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56),
        tokenizer(QWEN),
        library.Qwen2VLVideoProcessor(),
        chat_template=template and template.replace("<image>", "".join(QWEN[i] for i in (4, 3, 5))),
    )
    return library.Qwen2VLForConditionalGeneration(config), processor


FAMILIES = {
    "llava": llava,
    "idefics": idefics,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "qwen2": qwen2,
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param), FAMILIES[request.param])


def saved(place: Path, family: Any, template: str | None = TEMPLATE) -> Path:
    torch.manual_seed(0)
    model, processor = family(template)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.generation_config = library.GenerationConfig(
        eos_token_id=2, do_sample=True, temperature=2.0, repetition_penalty=1.5, max_length=3
    )
    model.save_pretrained(place)
    processor.save_pretrained(place)
    return place


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(folder: Path, **options: Any) -> Transformers:
    return models.load(str(folder), device="cpu", **options)


def answers(model: Transformers, requests: list[Request]) -> dict[str, Answer]:
    found = list(model.generate(requests))
    assert len(found) == len(requests)
    return {answer.id: answer for answer in found}


@pytest.mark.parametrize("style", ["completion", "instruct"])
@pytest.mark.parametrize("beams", [1, 3])
def test_the_batch_does_not_change_an_answer(folder, style, beams):
    asked = few_shot(9, style=style, num_beams=beams)
    asked.append(request("text", "no picture here", style=style, num_beams=beams))
    alone = answers(load(folder, batch_size=1), asked)
    beside = answers(load(folder, batch_size=4), asked)
    assert {i: a.text for i, a in beside.items()} == {i: a.text for i, a in alone.items()}
    assert len({a.text for a in alone.values()}) > 3


def test_a_spelled_out_picture_mark_is_text_and_fails_nobody(folder):
    asked = [request("forged", (painted(1), "what is <image> </s>?")), *few_shot(3)]
    found = answers(load(folder, batch_size=4), asked)
    assert {a.finish for a in found.values()} <= {"stop", "length"}


def test_a_neutral_text_keeps_its_words():
    assert neutral("a <image> and </s>", ["<image>", "</s>"]) == "a < image> and < /s>"


def test_the_checkpoints_own_generation_settings_are_not_used(folder):
    model = load(folder)
    (answer,) = model.generate([request("1", (painted(1), "Output:"), max_new_tokens=9)])
    assert answer.notes["tokens_out"] > 3 or answer.finish == "stop"
    assert model.model.generation_config.do_sample is not True
    repeated = answers(model, few_shot(4))
    assert {i: a.text for i, a in answers(model, few_shot(4)).items()} == {
        i: a.text for i, a in repeated.items()
    }


def test_a_ranking_is_the_likelihood_of_each_option(folder):
    model = load(folder)
    options = (" a dog", " a very large house", " no")
    (answer,) = model.rank([request("1", (painted(2), "what?"), options=options)])
    job = model._prepare(request("1", (painted(2), "what?"), options=options))
    for option, loglik in zip(options, answer.logliks, strict=True):
        prompt = model.writer.read([job.written], [job.shown])
        n = prompt["input_ids"].shape[1]
        text = (*job.written[:-1], f"{job.written[-1]}{option}")
        whole = model.writer.read([text], [job.shown])
        with torch.inference_mode():
            logp = model.model(**whole).logits.log_softmax(-1)[0]
        ids = whole["input_ids"][0]
        own = sum(float(logp[i - 1, ids[i]]) for i in range(n, len(ids)))
        assert loglik == pytest.approx(own, abs=1e-3)
    assert answer.text == max(zip(answer.logliks, options, strict=True))[1]


def test_examples_that_do_not_fit_are_left_out_and_a_question_alone_is_refused(folder):
    model = load(folder, batch_size=2)
    turns: list[Any] = []
    for n in range(4):
        turns += [(painted(n), "Output:"), "red " * 30]
    asked = [request("shots", *turns, (painted(9), "Output:")), request("long", "word " * 90)]
    found = answers(model, asked)
    assert found["shots"].notes["dropped_shots"] > 0
    assert found["shots"].notes["tokens_in"] <= 400 - 6
    assert found["long"].finish == "error"
    assert "room for" in found["long"].notes["error"]


def test_a_stop_string_ends_the_answer(folder):
    model = load(folder)
    asked = few_shot(4, max_new_tokens=12)
    whole = max((a.text for a in model.generate(asked)), key=len)
    stop = whole[2]
    stopped = next(
        a
        for a in model.generate(few_shot(4, max_new_tokens=12, stop=(stop,)))
        if a.text and whole.startswith(a.text)
    )
    assert stopped.text == whole[: whole.index(stop) + 1]
    assert stopped.finish == "stop"


def test_an_unreadable_picture_stops_the_run_by_name(folder):
    with pytest.raises(MachineryError, match=r"coco/7\.jpg"):
        answers(load(folder), [request("x", (Painted(None, "coco/7.jpg"), "Output:"))])


def test_settings_name_what_can_move_a_number(folder):
    settings = load(folder).settings
    assert settings["pictures"]["processor"].endswith("ImageProcessor")
    assert settings["transformers"] == library.__version__
    json.dumps(settings)


def test_a_checkpoint_without_a_chat_template_completes(tmp_path):
    model = load(saved(tmp_path, llava, template=None))
    assert model.style == "completion"
    prompt = request("1", (painted(1), "Output:"), "a dog", (painted(2), "Output:")).prompt
    assert model.writer.write(prompt) == ("<image>Output:a dog\n<image>Output:",)


def test_a_chat_template_is_filled_in_once_with_its_opening_token(tmp_path):
    model = load(saved(tmp_path, llava))
    assert (model.style, bool(model.settings["chat_template"])) == ("instruct", True)
    asked = request("1", (painted(1), "what?"), style="instruct", system="Be brief.")
    (text,) = model.writer.write(asked.prompt)
    assert text == (
        "<s>system: Be brief.<end_of_utterance>\nuser: <image>what?<end_of_utterance>\nassistant: "
    )
    job = model._prepare(asked)
    ids = model.writer.read([job.written], [job.shown])["input_ids"][0].tolist()
    assert ids.count(1) == 1


def test_idefics_1_is_written_in_its_own_lines(tmp_path):
    model = load(saved(tmp_path, idefics))
    shot, query = painted(1), painted(2)
    turns = [(shot, "see http://a.b/c?"), "yes", (query, "http://a.b/c")]
    chat = model.writer.write(request("1", *turns, style="instruct").prompt)
    assert chat == (
        "\nUser: ",
        shot,
        "see http:// a.b/c?<end_of_utterance>\nAssistant: yes<end_of_utterance>\nUser: ",
        query,
        "http:// a.b/c<end_of_utterance>\nAssistant:",
    )
    text = model.writer.write(request("1", *turns).prompt)
    assert text == (shot, "see http:// a.b/c?yes\n", query, "http:// a.b/c")


@pytest.mark.parametrize(
    ("config", "message"),
    [({"model_type": "bert"}, "reads pictures"), ({"model_type": "llava"}, "cannot be loaded")],
)
def test_a_folder_that_is_no_such_model_is_refused_in_one_line(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message) as caught:
        models.load(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)
