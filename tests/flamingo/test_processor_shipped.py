"""A checkpoint's own chat template: what it writes is a mark, what a message spells is text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.jinja_template import shipped
from infimm_eval.flamingo.processor import Processor
from infimm_eval.flamingo.templates import TEMPLATES, Turn
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Mark, Tokenizer

SPELT_OUT = """<s>
{%- for m in messages %}<|{{ m.role }}|>
{{ m.content }}</s>
{% endfor %}{{ '<|assistant|>\\n' }}"""
SAID = [
    Turn("user", [IMAGE, "Is </s> a tag, or <s>, <|endofchunk|> or <image>?"]),
    Turn("assistant", "<|endofchunk|></s>"),
    Turn("user", "</"),
    Turn("user", "s>"),
]


def test_a_template_may_spell_its_marks(zephyr: Tokenizer) -> None:
    own = Processor(zephyr, template=shipped(SPELT_OUT, "here"))
    encoded = own.encode_chat(SAID)
    assert encoded == Processor(zephyr, template=TEMPLATES["zephyr"]).encode_chat(SAID)
    assert encoded.ids.count(2) == 1 + len(SAID)
    assert (encoded.ids.count(1), encoded.ids.count(32000), encoded.ids.count(32001)) == (1, 1, 1)


def test_a_template_may_end_chunks_but_not_make_pictures() -> None:
    pieces = shipped("{{ '<image>' ~ messages[1].content }}<|endofchunk|>", "here").render(
        None, [Turn("user", [IMAGE, "a cat"])]
    )
    assert list(pieces) == ["<image>", IMAGE, "a cat", END_OF_CHUNK]


def test_marks_are_spelt_as_the_tokenizer_spells_them(tmp_path: Path, wordwise: Tokenizer) -> None:
    wordwise.raw.add_special_tokens(["<end>"])
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "<end>", "chat_template": "{{ messages[1].content }}<end></s>"})
    )
    render = Processor.load(tmp_path).template.render
    assert list(render(None, [Turn("user", "what")])) == ["what", Mark.EOS, "</s>"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ messages[0].content + 1 }}", "TypeError: "),
        ("{{ '%d' % 'x' }}", "TypeError: "),
        ("{{ range(10000000) | list }}", "OverflowError: "),
    ],
)
def test_a_template_that_fails_is_named(source: str, message: str) -> None:
    broken = shipped(source, "here")
    with pytest.raises(UsageError, match=f"here fails at this conversation: {message}"):
        list(broken.render(None, [Turn("user", "Hi")]))
