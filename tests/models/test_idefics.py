"""IDEFICS in its own prompts: the ids that transformers' own processor and generate give."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import pytest
import torch
import transformers as library
from PIL import Image as Pillow

from infimm_eval import formats, models
from infimm_eval.errors import UsageError
from infimm_eval.prompts import Prompter
from infimm_eval.types import Decoding, Image, Request, Sample
from tests.models.families import (
    SPECIAL,
    answers,
    idefics,
    idefics_resampled,
    load,
    saved,
    tokenizer,
)
from tests.models.tiny import painted

VQA = formats.IDEFICS.templates["short answer"]["completion"]
CHAT_CAPTION = formats.IDEFICS.templates["caption"]["instruct"]


def base(_: str | None):
    """Without the end-of-utterance token."""
    model, processor = idefics(None)
    processor.tokenizer = tokenizer(SPECIAL[:5])
    return model, processor


def open_gates(family):
    """Tiny models are made with gates that let no picture through."""

    def opened(template):
        model, processor = family(template)
        for name, parameter in model.named_parameters():
            if "alpha_" in name:
                torch.nn.init.constant_(parameter, 0.8)
        return model, processor

    return opened


FAMILIES = {"base": base, "instruct": idefics, "resampled": idefics_resampled}


EACH = ["base", *(pytest.param(name, marks=pytest.mark.slow) for name in ("instruct", "resampled"))]


@pytest.fixture(scope="module", params=EACH)
def folder(request, tmp_path_factory):
    return saved(tmp_path_factory.mktemp(request.param), open_gates(FAMILIES[request.param]))


@pytest.fixture(scope="module")
def original(folder):
    model = library.IdeficsForVisionText2Text.from_pretrained(folder).eval()
    ends = [2, 5] if "<end_of_utterance>" in tokens(folder).get_vocab() else [2]
    model.generation_config = library.GenerationConfig(eos_token_id=ends, pad_token_id=0)
    return model, library.IdeficsProcessor.from_pretrained(folder)


def tokens(folder):
    return library.AutoTokenizer.from_pretrained(folder)


def sample(n: int) -> Sample:
    people = ("no", "yes", "yes", f"{n}")
    return Sample(
        id=f"{n}", images=(painted(n),), question=(f"is {n} red?",), target="no", references=people
    )


def requests(template=VQA, **search) -> list[Request]:
    """Eight of 0 (two examples without pictures), 1 and 4 shots, one after another."""
    decoding = dataclasses.replace(template.decoding, stop=(), **search)
    made = []
    for n in range(8):
        count = (0, 1, 4)[n % 3]
        shots = [sample(10 * n + k) for k in range(1, 1 + (count or 2))]
        prompt = Prompter("completion", template)(sample(n), shots, text_only=not count)
        made.append(Request(f"{n}", prompt, decoding, (" yes", " no", " 12")))
    return made


def as_processors_read(request: Request, more: str = "") -> list[str | Pillow.Image]:
    """The document written out by hand: what a person would give the processor."""
    prompt = request.prompt
    pieces: list[str | Pillow.Image] = [f"{prompt.system}\n"] if prompt.system else []
    for turn in prompt.turns:
        for piece in turn.content:
            if isinstance(piece, Image):
                pieces.append(Pillow.open(io.BytesIO(piece.read())).convert("RGB"))
            else:
                pieces.append(piece)
        after = prompt.document.before_answer
        pieces.append(prompt.document.after_answer if turn.role == "assistant" else after)
    joined: list[str | Pillow.Image] = []
    for piece in [*pieces, more]:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def inputs(processor, prompt: Sequence[str | Pillow.Image]):
    return processor(
        text=[list(prompt)],
        add_end_of_utterance_token=False,
        padding="longest",
        return_tensors="pt",
    )


def generated(original, request: Request) -> str:
    model, processor = original
    decoding: Decoding = request.decoding
    read = inputs(processor, as_processors_read(request))
    bad = ["\n", "\n\n", "<image>", "<fake_token_around_image>"]
    beams = {"num_beams": decoding.num_beams, "length_penalty": decoding.length_penalty}
    ids = model.generate(
        **read,
        do_sample=False,
        max_new_tokens=decoding.max_new_tokens,
        bad_words_ids=processor.tokenizer(bad, add_special_tokens=False)["input_ids"],
        **(beams if decoding.num_beams > 1 else {}),
    )
    return processor.tokenizer.decode(
        ids[0, read["input_ids"].shape[1] :], skip_special_tokens=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("search", [{}, {"num_beams": 3, "length_penalty": 0.0}])
def test_ids_are_those_of_transformers_own_generate_alone_and_in_batches(folder, original, search):
    asked = requests(**search)
    expected = {request.id: generated(original, request) for request in asked}
    assert len(set(expected.values())) > 1
    for batch_size in (1, 8):
        found = answers(load(folder, batch_size=batch_size), asked)
        assert {id: answer.text for id, answer in found.items()} == expected


def test_a_caption_is_asked_of_chat_models_as_a_conversation(tmp_path):
    model = load(saved(tmp_path, idefics))
    (asked,) = requests(CHAT_CAPTION)[:1]
    written = "".join(
        p if isinstance(p, str) else "[picture]" for p in model.formatter.write(asked.prompt)
    )
    shot = "User:Describe the image briefly.<end_of_utterance>\nAssistant: {}<end_of_utterance>\n"
    texts = [turn.content[0] for turn in asked.prompt.turns if turn.role == "assistant"]
    assert written == "".join(shot.format(text.strip()) for text in texts) + (
        "User:[picture]Describe the image briefly.<end_of_utterance>\nAssistant:"
    )
    job = model.engine.prepare(asked)
    ids = model.formatter.encode([job.written], [job.shown])["input_ids"][0].tolist()
    assert ids.count(SPECIAL.index("<end_of_utterance>")) == 5


@pytest.mark.slow
def test_ranking_is_the_plain_log_likelihood_of_each_option(folder, original):
    model, processor = original
    asked = requests()[:3]
    ranked = {answer.id: answer.logliks for answer in load(folder).rank(asked)}
    for request in asked:
        expected = []
        for option in request.options:
            read = inputs(processor, as_processors_read(request, option))
            with torch.inference_mode():
                logp = model(**read).logits.log_softmax(-1)[0, -len(option) - 1 : -1]
            ids = read["input_ids"][0, -len(option) :]
            expected.append(float(logp.gather(1, ids[:, None]).sum()))
        assert ranked[request.id] == pytest.approx(expected, abs=1e-4)


def test_text_sees_the_latest_picture_and_examples_without_pictures_see_none(folder):
    model = load(folder)
    jobs = [model.engine.prepare(request) for request in requests()[:3]]
    read = model.formatter.encode([j.written for j in jobs], [j.shown for j in jobs])
    picture = model.processor.tokenizer.convert_tokens_to_ids("<image>")
    for ids, seen, real in zip(
        read["input_ids"], read["image_attention_mask"], read["attention_mask"], strict=True
    ):
        latest = (ids == picture).cumsum(0) - 1
        for at in real.nonzero().flatten().tolist():
            expected = [int(n == latest[at]) for n in range(seen.shape[1])]
            assert seen[at].tolist() == expected
    assert (latest >= 0).any() and (latest < 0).any()


def test_a_picture_leaves_the_examples_before_it_as_they_are(folder, original):
    model, processor = original
    one = as_processors_read(requests()[0])
    other = [Pillow.new("RGB", (40, 30), "red") if not isinstance(p, str) else p for p in one]
    with torch.inference_mode():
        first, second = (model(**inputs(processor, prompt)) for prompt in (one, other))
    place = int((inputs(processor, one)["input_ids"][0] == SPECIAL.index("<image>")).nonzero()[0])
    apart = (first.logits - second.logits).abs().amax(-1)[0]
    assert apart[: place - 1].max() == 0.0
    assert apart[place:].max() > 0.0


@pytest.mark.slow
def test_a_model_spread_over_its_devices_answers_the_same(folder):
    asked = requests()[:3]
    spread = models.load(f"hf:{folder}", device_map="auto", dtype="float32")
    assert answers(spread, asked) == answers(load(folder), asked)


@pytest.mark.parametrize(
    ("chosen", "missing", "message"),
    [
        (
            {"quantization": "4bit"},
            "bitsandbytes",
            "--quantization needs bitsandbytes: pip install",
        ),
        ({"quantization": "8bit"}, "accelerate", "--quantization needs accelerate: pip install"),
        ({"device_map": "auto"}, "accelerate", "--device-map needs accelerate: pip install"),
        ({"device_map": "auto", "device": "cpu"}, None, "leave out --device"),
        ({"quantization": "3bit"}, None, "unknown quantization '3bit'; did you mean"),
    ],
)
def test_what_a_placement_lacks_is_said_in_one_line(folder, monkeypatch, chosen, missing, message):
    there = lambda package: None if package == missing else object()  # noqa: E731
    monkeypatch.setattr("infimm_eval.models.transformers.placement.find_spec", there)
    with pytest.raises(UsageError, match=message) as caught:
        models.load(f"hf:{folder}", **chosen)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_quantized_weights_answer_and_say_so(folder, bits):
    pytest.importorskip("bitsandbytes")
    model = models.load(f"hf:{folder}", quantization=bits, device="cpu", dtype="float32")
    assert model.settings["quantization"] == bits
    kinds = {type(layer).__name__ for layer in model.model.modules()}
    assert {"4bit": "Linear4bit", "8bit": "Linear8bitLt"}[bits] in kinds
    plain = answers(load(folder), requests()[:2])
    assert answers(model, requests()[:2]).keys() == plain.keys()
    exact, rounded = (next(iter(m.rank(requests()[:1]))).logliks for m in (load(folder), model))
    assert rounded != exact and rounded == pytest.approx(exact, abs=2.0)


def test_only_models_of_transformers_are_spread_or_quantized():
    with pytest.raises(UsageError, match="--device-map is for hf:ID; 'demo' does not take it"):
        models.load("demo", device_map="auto")
