"""Tiny models of the transformers library with random weights, behind the same words."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as library

from infimm_eval import models
from infimm_eval.errors import UsageError
from infimm_eval.models.shared import auto_batch_size
from infimm_eval.models.transformers import engine
from infimm_eval.models.transformers.prompts import neutral
from infimm_eval.models.transformers.requests import bytes_of
from infimm_eval.types import Request
from tests.models.families import FAMILIES, answers, idefics, llava, load, saved
from tests.models.tiny import few_shot, painted, request

pytestmark = pytest.mark.sampled


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp(request.param), FAMILIES[request.param])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "beams"),
    [
        ("completion", 3),
        pytest.param("instruct", 1, marks=pytest.mark.slow),
        pytest.param("completion", 1, marks=pytest.mark.slow),
        pytest.param("instruct", 3, marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.slow
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
    job = model.engine.prepare(request("1", (painted(2), "what?"), options=options))
    for option, loglik in zip(options, answer.logliks, strict=True):
        prompt = model.formatter.encode([job.written], [job.shown])
        n = prompt["input_ids"].shape[1]
        text = (*job.written[:-1], f"{job.written[-1]}{option}")
        whole = model.formatter.encode([text], [job.shown])
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


@pytest.mark.slow
def test_an_answer_says_how_its_prompt_was_read(folder):
    """Marks in place of the pictures give back what the processor was handed."""
    model = load(folder, batch_size=2)
    ranked = request("rank", (painted(1), "a?"), options=("b",))
    asked = [*few_shot(2, style="instruct"), ranked]
    found = answers(model, asked[:2]) | {a.id: a for a in model.rank([ranked])}
    opening = model.formatter.processor.tokenizer.bos_token
    for one in asked:
        job = model.engine.prepare(one)
        first, *rest = found[one.id].prompt
        assert len(rest) == len(job.shown) and first.startswith(opening)
        again = found[one.id].prompt[0].removeprefix(opening), *rest
        texts = [p if isinstance(p, str) else model.formatter.marks[0] for p in job.written]
        assert model.formatter.marks[0].join(again) == "".join(texts).removeprefix(opening)


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


def rows_of_batches(model: Any, asked: list[Request], monkeypatch: Any, most: int = 99) -> Any:
    """The rows of every batch that was tried, and the answers; more than ``most`` do not fit."""
    rows, generate = [], model.model.generate

    def counted(**inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        if rows[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(model.model, "generate", counted)
    return rows, {i: a.text for i, a in answers(model, asked).items()}


@pytest.mark.slow
def test_memory_that_gives_out_halves_the_batch_and_is_recorded(tmp_path, monkeypatch):
    model = load(saved(tmp_path, llava), batch_size=8, sharing=False)
    asked = few_shot(9)
    expected = {i: a.text for i, a in answers(model, asked).items()}
    rows, found = rows_of_batches(model, asked, monkeypatch, most=3)
    assert (rows, found) == ([8, 4, 2, 2, 2, 2, 1], expected)
    assert model.statistics["oom_halvings"] == 2


@pytest.mark.slow
def test_the_first_of_the_batches_sized_by_memory_is_small_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(auto_batch_size, "free_bytes", lambda _: 10**12)
    monkeypatch.setattr(auto_batch_size, "most", lambda _: 16)
    model = load(saved(tmp_path, llava), sharing=False)
    assert rows_of_batches(model, few_shot(40), monkeypatch)[0] == [4, 16, 16, 4]
    assert model.statistics["probe_rows"] == 4


@pytest.mark.parametrize("times, rows", [(1.0, 12), (2.0, 6), (100.0, 1)])
def test_batches_sized_by_memory_hold_half_of_it_by_what_the_first_took(
    tmp_path, monkeypatch, times, rows
):
    monkeypatch.setattr(auto_batch_size, "free_bytes", lambda _: 24 * 10**6)
    monkeypatch.setattr(auto_batch_size, "peak", lambda _, work: (work(), int(4 * times * 10**6)))
    monkeypatch.setattr(engine, "bytes_of", lambda *_: 10**6)
    model = load(saved(tmp_path, llava), sharing=False)
    assert rows_of_batches(model, few_shot(30), monkeypatch)[0][:2] == [4, rows]


def test_a_long_prompt_is_taken_for_more_than_a_short_one(folder):
    model = load(folder)
    short, long = (
        bytes_of(model.model, model.engine.prepare(request("1", (painted(1), "word " * n))))
        for n in (3, 30)
    )
    assert 0 < short < long


def test_a_row_is_weighed_also_where_shapes_differ_by_layer_or_are_not_told(tmp_path):
    job = load(saved(tmp_path, llava)).engine.prepare(request("1", (painted(1), "word " * 30)))
    shapes = SimpleNamespace(hidden_size=32, intermediate_size=[48, 64], vocab_size=100)
    config = SimpleNamespace(get_text_config=lambda: shapes)
    assert bytes_of(SimpleNamespace(config=config, dtype=torch.float32), job) > 0


def test_settings_name_what_can_move_a_number(folder):
    settings = load(folder).settings
    assert settings["pictures"]["processor"].endswith("ImageProcessor")
    assert settings["transformers"] == library.__version__
    json.dumps(settings)


def test_a_checkpoint_without_a_chat_template_completes(tmp_path):
    model = load(saved(tmp_path, llava, template=None))
    assert model.style == "completion"
    prompt = request("1", (painted(1), "Output:"), "a dog", (painted(2), "Output:")).prompt
    assert model.formatter.write(prompt) == ("<image>Output:a dog\n<image>Output:",)


def test_a_chat_template_is_filled_in_once_with_its_opening_token(tmp_path):
    model = load(saved(tmp_path, llava))
    assert (model.style, bool(model.settings["chat_template"])) == ("instruct", True)
    asked = request("1", (painted(1), "what?"), style="instruct", system="Be brief.")
    (text,) = model.formatter.write(asked.prompt)
    assert text == (
        "<s>system: Be brief.<end_of_utterance>\nuser: <image>what?<end_of_utterance>\nassistant: "
    )
    job = model.engine.prepare(asked)
    ids = model.formatter.encode([job.written], [job.shown])["input_ids"][0].tolist()
    assert ids.count(1) == 1


def test_idefics_1_is_written_in_its_own_lines(tmp_path):
    model = load(saved(tmp_path, idefics))
    shot, query = painted(1), painted(2)
    turns = [(shot, "see http://a.b/c?"), "yes", (query, "http://a.b/c")]
    chat = model.formatter.write(request("1", *turns, style="instruct").prompt)
    assert chat == (
        "\nUser: ",
        shot,
        "see http:// a.b/c?<end_of_utterance>\nAssistant: yes<end_of_utterance>\nUser: ",
        query,
        "http:// a.b/c<end_of_utterance>\nAssistant:",
    )
    text = model.formatter.write(request("1", *turns).prompt)
    assert text == (shot, "see http:// a.b/c?yes\n", query, "http:// a.b/c")


@pytest.mark.parametrize(
    ("config", "message"),
    [({"model_type": "bert"}, "reads pictures"), ({"model_type": "llava"}, "holds no weights")],
)
def test_a_folder_that_is_no_such_model_is_refused_in_one_line(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message) as caught:
        models.load(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)
