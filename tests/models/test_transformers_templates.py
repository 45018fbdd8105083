"""Chat templates and tokenizers as checkpoints ship them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from tests.models.families import (
    FAMILIES,
    MORE,
    SPECIAL,
    TEMPLATE,
    answers,
    gemma3,
    idefics,
    llava,
    load,
    saved,
    tokenizer,
)
from tests.models.tiny import few_shot, painted, request

pytestmark = pytest.mark.slow

NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)
DEAF = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + TEMPLATE
STRINGS = (
    "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
WRITTEN_OUT = STRINGS.replace("m['content'] +", "m['content'] | string +")
BLIND = TEMPLATE.replace("<image>", "")
FRESH = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + TEMPLATE
PRUDE = (
    "{% if 'naughty' in messages | string %}{{ raise_exception('such words') }}{% endif %}"
    + TEMPLATE
)


def asked(*turns: Any, **rest: Any) -> Any:
    return request("1", *(turns or ((painted(1), "what?"),)), style="instruct", **rest)


@pytest.mark.parametrize("template", [NO_SYSTEM, DEAF])
def test_a_system_text_that_a_template_does_not_take_begins_the_first_turn(tmp_path, template):
    model = load(saved(tmp_path, llava, template))
    (text,) = model.formatter.write(asked(system="Be brief.").prompt)
    assert text == "<s>user: Be brief.\n<image>what?<end_of_utterance>\nassistant: "
    assert model.settings["system_turn"] == "in the first user turn"
    assert answers(model, [asked(system="Be brief.")])["1"].finish != "error"


def test_options_reach_the_template_and_the_settings(tmp_path):
    wordy = "{% if not enable_thinking | default(true) %}Do not think. {% endif %}" + TEMPLATE
    folder = saved(tmp_path, llava, wordy)
    quiet = {"chat_template_options": {"enable_thinking": False}}
    texts = [load(folder, **more).formatter.write(asked().prompt)[0] for more in ({}, quiet)]
    assert texts[1] == texts[0].replace("<s>", "<s>Do not think. ") or (
        texts[1] == "Do not think. " + texts[0]
    )
    model = load(folder, **quiet)
    assert model.settings["chat_template_options"] == '{"enable_thinking": false}'
    assert answers(model, [asked()])["1"].finish != "error"
    assert "chat_template_options" not in load(folder).settings


def test_a_template_that_takes_everything_is_not_spoken_of(tmp_path):
    settings = load(saved(tmp_path, llava)).settings
    assert not {"system_turn", "chat_content"} & settings.keys()


@pytest.mark.parametrize("template", [STRINGS, WRITTEN_OUT])
def test_a_template_that_wants_text_gets_text(tmp_path, template):
    model = load(saved(tmp_path, llava, template))
    turns = ((painted(1), "what?"), "a dog", (painted(2), "and <image>?"))
    (text,) = model.formatter.write(asked(*turns, system="Be brief.").prompt)
    assert text == (
        "[system] Be brief.\n[user] <image>what?\n[assistant] a dog\n"
        "[user] <image>and < image>?\n[assistant] "
    )
    assert model.settings["chat_content"] == "text"
    assert answers(model, [asked(*turns)])["1"].finish != "error"


def test_a_template_without_a_place_for_pictures_is_named_with_a_way_out(tmp_path):
    model = load(saved(tmp_path, llava, BLIND))
    with pytest.raises(UsageError, match=r"no place for a picture.*--prompt-style completion"):
        answers(model, [asked()])
    assert answers(model, [asked("no picture here")])["1"].finish != "error"
    assert answers(model, few_shot(2))["1"].finish != "error"


def test_a_template_that_takes_no_such_conversation_is_named_with_a_way_out(tmp_path):
    model = load(saved(tmp_path, llava, FRESH))
    with pytest.raises(UsageError, match="user, assistant, user: one turn only; --prompt-style"):
        answers(model, [asked((painted(1), "what?"), "a dog", (painted(2), "what?"))])
    assert answers(model, [asked()])["1"].finish != "error"


def test_words_that_a_template_refuses_cost_their_own_question(tmp_path):
    model = load(saved(tmp_path, llava, PRUDE), batch_size=4)
    odd = request("odd", (painted(1), "how naughty?"), style="instruct")
    found = answers(model, [odd, *few_shot(3, style="instruct")])
    assert {id for id, answer in found.items() if answer.finish == "error"} == {"odd"}
    assert found["odd"].notes["error"].endswith("refuses it: such words")


@pytest.mark.parametrize("name", ["<|done|>", "<end_of_turn>", "[/TURN]"])
def test_the_end_of_a_turn_ends_an_answer_whatever_its_name(tmp_path, name, monkeypatch):
    monkeypatch.setitem(MORE, "named", named := lambda _: renamed(name))
    model = load(saved(tmp_path, named))
    end = model.processor.tokenizer.convert_tokens_to_ids(name)
    assert end in model.engine.generation._ends
    assert model.formatter.ends == (name,)


def renamed(name: str) -> tuple[Any, Any]:
    model, processor = llava(TEMPLATE.replace("<end_of_utterance>", name))
    processor.tokenizer = tokenizer([*SPECIAL[:-1], name])
    return model, processor


def test_a_template_that_ends_no_turn_names_no_end(tmp_path):
    model = load(saved(tmp_path, llava, TEMPLATE.replace("<end_of_utterance>", "")))
    assert model.formatter.ends == ()


@pytest.mark.parametrize(
    "family", [llava, idefics, gemma3, FAMILIES["qwen2"], FAMILIES["idefics2"]]
)
@pytest.mark.parametrize("style", ["completion", "instruct"])
def test_no_end_token_stands_before_the_words_to_be_continued(tmp_path, family, style):
    template = TEMPLATE.replace("{{ bos_token }}", "")
    plain = saved(tmp_path / "plain", family, template)
    closed = saved(tmp_path / "closed", family, template)
    close(closed / "tokenizer.json")
    options = (" a dog", " no")
    requests = few_shot(4, style=style, options=options)
    ranked = [
        [loglik for answer in load(place).rank(requests) for loglik in answer.logliks]
        for place in (plain, closed)
    ]
    assert ranked[0] == pytest.approx(ranked[1], abs=1e-5)
    texts = [
        {i: a.text for i, a in answers(load(place), requests).items()} for place in (plain, closed)
    ]
    assert texts[0] == texts[1]


def close(file: Path) -> None:
    """As ``add_eos_token`` does."""
    written = json.loads(file.read_text())
    processor = written["post_processor"]
    processor["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    processor["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    file.write_text(json.dumps(written))
