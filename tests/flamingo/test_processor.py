"""Conversations and interleaved documents become the original's ids, or better ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.jinja_template import shipped
from infimm_eval.flamingo.layouts.infimm import LAYOUT
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.processor import CONTEXT, Encoded, Processor, PromptTooLong
from infimm_eval.flamingo.templates import TEMPLATES, Template, Turn
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Piece, Tokenizer
from tests.golden.recorded import PARITY

GOLDEN = json.loads((PARITY / "processor" / "prompts.json").read_text(encoding="utf-8"))
MET = GOLDEN["cases"]
SPELT = {case["name"] for case in MET if case["name"].startswith("literal_")} - {
    "literal_role_markers"
}


@pytest.fixture
def infimm(zephyr: Tokenizer) -> Processor:
    return Processor(zephyr)


@pytest.fixture
def plain(wordwise: Tokenizer) -> Processor:
    return Processor(wordwise, Pictures(16), TEMPLATES["plain"], context=14)


def turns(case: dict[str, Any]) -> list[Turn]:
    return [
        Turn(
            turn["role"],
            turn["content"]
            if isinstance(turn["content"], str)
            else [IMAGE if isinstance(piece, dict) else piece for piece in turn["content"]],
        )
        for turn in case["prompts"]
    ]


def read(processor: Processor, encoded: Encoded) -> str:
    return processor.tokenizer.raw.decode(encoded.ids, skip_special_tokens=False)


def user(*pieces: Piece) -> Turn:
    return Turn("user", pieces)


def assistant(*pieces: Piece) -> Turn:
    return Turn("assistant", pieces)


@pytest.mark.sampled
@pytest.mark.parametrize("case", MET, ids=lambda case: str(case["name"]))
def test_faithful_ids_are_the_originals(infimm: Processor, case: dict[str, Any]) -> None:
    encoded = infimm.encode_chat(turns(case), faithful=True)
    assert encoded.ids == case["input_ids"]
    assert encoded.ids.count(32001) == case["n_image_tokens"]
    assert encoded.pictures == len(case["image_paths"])


@pytest.mark.parametrize(
    "case",
    [case for case in MET if case["name"] not in SPELT | {"too_long_truncated"}],
    ids=lambda case: str(case["name"]),
)
def test_ids_are_the_originals_without_the_second_hearing(
    infimm: Processor, case: dict[str, Any]
) -> None:
    encoded = infimm.encode_chat(turns(case))
    assert encoded.ids == case["nodup_input_ids"]
    assert encoded.ids.count(32001) == encoded.pictures


@pytest.mark.parametrize(
    "case", [case for case in MET if case["name"] in SPELT], ids=lambda case: str(case["name"])
)
def test_spelt_tokens_stay_text_unless_one_asks_for_the_originals(
    infimm: Processor, case: dict[str, Any]
) -> None:
    encoded = infimm.encode_chat(turns(case))
    assert encoded.ids != case["nodup_input_ids"]
    assert encoded.ids.count(32001) == encoded.pictures == len(case["image_paths"])


def test_a_faithful_batch_is_padded_on_the_right(infimm: Processor) -> None:
    golden = GOLDEN["batch"]
    named = {case["name"]: case for case in MET}
    rows = [infimm.encode_chat(turns(named[name]), faithful=True) for name in golden["names"]]
    ids, mask = infimm.batch(rows, faithful=True)
    assert ids.tolist() == golden["input_ids"]
    assert mask.tolist() == golden["attention_mask"]


def test_a_batch_is_padded_on_the_left(plain: Processor) -> None:
    ids, mask = plain.batch([Encoded([1, 7, 8]), Encoded([1]), Encoded([1, 9])])
    assert ids.tolist() == [[1, 7, 8], [2, 2, 1], [2, 1, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]
    assert plain.batch([]).ids.shape == (0, 0)


def test_answers_may_be_pieces_and_hold_pictures(infimm: Processor) -> None:
    said = [user("Draw a cat"), assistant(IMAGE, "done"), user("Thanks")]
    encoded = infimm.encode_chat(said)
    assert encoded.pictures == encoded.ids.count(32001) == encoded.ids.count(32000) == 1
    with pytest.raises(UsageError, match="allows only text in the assistant's turns"):
        infimm.encode_chat(said, faithful=True)


def test_a_conversation_without_turns_is_refused(infimm: Processor) -> None:
    with pytest.raises(UsageError, match="at least one turn"):
        infimm.encode_chat([])


def test_the_oldest_exchanges_leave_with_their_pictures(infimm: Processor) -> None:
    shots = [
        turn
        for word in ("one", "two", "three")
        for turn in (user(IMAGE, IMAGE, f"How many? {word}"), assistant(word))
    ]
    said = [Turn("system", "Be brief."), *shots, user(IMAGE, "How many?")]
    whole = infimm.encode_chat(said)
    assert (whole.dropped_shots, whole.dropped_pictures, whole.pictures) == (0, 0, 7)

    shorter = infimm.encode_chat([said[0], *said[5:]])
    cut = infimm.encode_chat(said, max_tokens=len(shorter.ids))
    assert cut == replace(shorter, dropped_shots=2, dropped_pictures=4)
    assert cut.pictures == cut.ids.count(32001) == 3
    assert "Be brief." in read(infimm, cut)


def test_a_question_is_never_shortened(infimm: Processor, plain: Processor) -> None:
    question = [Turn("system", "s"), user("a"), assistant("b"), user("word " * 50)]
    with pytest.raises(PromptTooLong, match=r"takes \d+ tokens, and there is room for 40"):
        infimm.encode_chat(question, max_tokens=40)
    with pytest.raises(PromptTooLong, match="takes 15 tokens, and there is room for 14"):
        plain.encode_completion(["cat " * 14])


def test_a_document_is_written_piece_by_piece(plain: Processor) -> None:
    encoded = plain.encode_completion(
        [
            IMAGE,
            "question: what is this ?",
            " answer: a cat",
            END_OF_CHUNK,
            "\n",
            IMAGE,
            "question:",
        ]
    )
    assert read(plain, encoded) == (
        "<s> <image> question: what is this ? answer: a cat <|endofchunk|> <image> question:"
    )
    assert encoded.pictures == 2


def test_the_oldest_shots_leave_with_their_pictures(plain: Processor) -> None:
    shots: list[Piece] = []
    for word in ("red", "blue"):
        shots += [IMAGE, f"a {word} cat", END_OF_CHUNK, "\n"]
    question: list[Piece] = [IMAGE, "a"]
    whole = plain.encode_completion([*shots, *question], max_tokens=13)
    assert (whole.pictures, whole.dropped_shots, whole.dropped_pictures) == (3, 0, 0)
    cut = plain.encode_completion([*shots, *question], head=["what ?"], max_tokens=12)
    assert read(plain, cut).split() == [
        *("<s>", "what", "?", "<image>", "a", "blue", "cat", "<|endofchunk|>", "<image>", "a")
    ]
    assert (cut.pictures, cut.dropped_shots, cut.dropped_pictures) == (2, 1, 1)


def test_shots_without_pictures_and_joined_in_one_text_are_told_apart(plain: Processor) -> None:
    pieces: list[Piece] = ["a cat", END_OF_CHUNK, "\n\na red cat", END_OF_CHUNK, "\n ", "this"]
    assert (
        plain.encode_completion(pieces, max_tokens=6).ids
        == plain.encode_completion(["a red cat", END_OF_CHUNK, "\n this"]).ids
    )


def test_a_document_that_ends_a_chunk_ends_with_its_question(plain: Processor) -> None:
    encoded = plain.encode_completion([IMAGE, "cat", END_OF_CHUNK, IMAGE, "dog", END_OF_CHUNK])
    assert encoded.ids[-1] == plain.tokenizer.id(END_OF_CHUNK)
    short = plain.encode_completion(
        [IMAGE, "cat", END_OF_CHUNK, IMAGE, "dog", END_OF_CHUNK, "\n"], max_tokens=4
    )
    assert (short.dropped_shots, short.pictures) == (1, 1)


def test_a_prompt_is_spelled_out_with_its_marks_and_cut_at_its_pictures(plain: Processor) -> None:
    document = [IMAGE, "cat", END_OF_CHUNK, "\n", IMAGE, "dog"]
    assert plain.encode_completion(document).written == ("<s>", "cat<|endofchunk|>\n", "dog")
    assert plain.encode_completion(document, max_tokens=4).written == ("<s>", "dog")
    said = plain.encode_chat([Turn("user", [IMAGE, "cat"])]).written
    assert len(said) == 2 and said[0].startswith("<s>") and said[1].startswith("cat")


def test_an_empty_document_is_the_opening_token(plain: Processor, wordwise: Tokenizer) -> None:
    assert plain.encode_completion([]) == Encoded([1])
    wordwise.opening = ()
    with pytest.raises(UsageError, match="needs a tokenizer with an opening token"):
        plain.encode_completion([])


def test_the_tail_is_where_a_continuation_begins(infimm: Processor) -> None:
    chat = infimm.encode_chat([user(IMAGE, "Is it red?")])
    told = infimm.encode_chat([user(IMAGE, "Is it red?"), assistant("No.")])
    answer = infimm.tokenizer.continuation(chat.tail, "No.")
    assert told.ids[: len(chat.ids) + len(answer)] == chat.ids + answer
    assert infimm.encode_completion(["a", IMAGE, "Output", ":"]).tail == "Output:"
    assert infimm.encode_completion(["a", IMAGE]).tail == ""


CONVERSATION = [user(IMAGE, " What is it? "), assistant(" A cat. "), user("Sure?")]


def rendered(name: str, *said: Turn) -> str:
    system = said[0].pieces if said[0].role == "system" else None
    names = {"IMAGE": "<image>", "END_OF_CHUNK": "<|endofchunk|>", "BOS": "<s>", "EOS": "</s>"}
    pieces = TEMPLATES[name].render(system, said if system is None else said[1:])
    return "".join(piece if isinstance(piece, str) else names[piece.name] for piece in pieces)


def test_llama2s_format_wraps_each_exchange() -> None:
    assert rendered("llama2", *CONVERSATION) == (
        "[INST] <image> What is it? [/INST] A cat. </s><s>[INST] Sure? [/INST]"
    )
    assert rendered("llama2", Turn("system", "Be kind."), user("Hi")) == (
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST]"
    )
    with pytest.raises(UsageError, match="begins with a user turn"):
        rendered("llama2", assistant("Hi"))


def test_vicunas_format_names_the_speakers() -> None:
    assert rendered("vicuna", Turn("system", "S."), *CONVERSATION) == (
        "S. USER: <image> What is it?  ASSISTANT:  A cat. </s>USER: Sure? ASSISTANT:"
    )
    assert rendered("vicuna", user("Hi")).startswith("A chat between a curious user and")


def test_the_plain_format_is_an_interleaved_document() -> None:
    assert rendered("plain", Turn("system", "Look."), *CONVERSATION) == (
        "Look.\n<image> What is it?  A cat. <|endofchunk|>\nSure?"
    )


LIKE_ZEPHYR = """
{%- for m in messages if m.role in ['system', 'user', 'assistant'] -%}
{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ eos_token ~ '\n' }}
{%- endfor -%}
{{ '<|assistant|>\n' if add_generation_prompt }}"""


@pytest.mark.parametrize("case", MET, ids=lambda case: str(case["name"]))
def test_a_shipped_template_gives_the_ids_of_the_built_in_one(
    infimm: Processor, case: dict[str, Any]
) -> None:
    own = replace(infimm, template=shipped(LIKE_ZEPHYR, "here"))
    assert own.encode_chat(turns(case), faithful=True).ids == case["input_ids"]
    try:
        expected = infimm.encode_chat(turns(case))
    except PromptTooLong:
        with pytest.raises(PromptTooLong):
            own.encode_chat(turns(case))
    else:
        assert own.encode_chat(turns(case)) == expected


def test_a_shipped_template_does_not_open_the_text_a_second_time(wordwise: Tokenizer) -> None:
    inst = "{{ bos_token }}{% for m in messages %}{{ m.content }} {{ eos_token }}{% endfor %}"
    own = Processor(wordwise, template=shipped(inst, "here"))
    assert read(own, own.encode_chat([user("what is this ?")])) == "<s> </s> what is this ? </s>"


def test_a_shipped_template_may_refuse_a_conversation() -> None:
    with pytest.raises(UsageError, match="here is not a template: "):
        shipped("{% for %}", "here")
    strict = shipped("{{ raise_exception('roles must alternate') }}", "here")
    with pytest.raises(UsageError, match="here refuses this conversation: roles must alternate"):
        list(strict.render(None, [user("Hi")]))


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"zephyr"}))
def test_a_role_that_a_format_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown role 'tool'"):
        rendered(name, user("Call it"), Turn("tool", "42"))


def test_an_unknown_format_is_refused_with_a_hint() -> None:
    with pytest.raises(UsageError, match="did you mean 'zephyr'"):
        LAYOUT.chat.template("zefyr")


def test_formats_go_by_the_models_family() -> None:
    kinds = ("infimm-zephyr", "infimm-vicuna", "infimm-llama", "infimm-demo", "")
    formats = [LAYOUT.chat.standard(kind) for kind in kinds]
    assert formats == ["zephyr", "vicuna", "llama2", "plain", "plain"]


def test_a_folder_says_all_that_a_processor_needs(tmp_path: Path, wordwise: Tokenizer) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    files: dict[str, dict[str, Any]] = {
        "preprocessor_config": {"image_size": 32},
        "config": {"model_type": "infimm-vicuna", "image_token_id": 4, "eoc_token_id": 3},
        "tokenizer_config": {"model_max_length": 512},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    loaded = Processor.load(tmp_path)
    assert (loaded.pictures, loaded.context) == (Pictures(32), 512)
    assert loaded.template is TEMPLATES["vicuna"]

    chosen = files["preprocessor_config"] | {"chat_format": "plain"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(chosen))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    loaded = Processor.load(tmp_path)
    assert (loaded.template, loaded.context) == (TEMPLATES["plain"], CONTEXT)


def test_the_format_is_the_named_then_the_seen_then_the_shipped_then_the_standard_one(
    tmp_path: Path, wordwise: Tokenizer
) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))

    def chosen(kind: str, **preprocessor: str) -> Template:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        return Processor.load(tmp_path).template

    with pytest.raises(UsageError, match="ships none"):
        chosen("infimm-vicuna", chat_format="shipped")
    assert chosen("infimm-vicuna") is TEMPLATES["vicuna"]
    said, told = (
        {"chat_template": word + " {{ messages[1].content }}"} for word in ("Say", "Tell")
    )
    for file, content, expected in [
        ("tokenizer_config.json", json.dumps(said), "Say Hi"),
        ("chat_template.jinja", told["chat_template"], "Tell Hi"),
    ]:
        (tmp_path / file).write_text(content)
        own = chosen("infimm-vicuna")
        assert list(own.render(None, [user("Hi")])) == [expected]
        assert chosen("infimm-zephyr") is TEMPLATES["zephyr"]
        assert chosen("infimm-zephyr", chat_format="shipped") not in TEMPLATES.values()
        assert chosen("infimm-vicuna", chat_format="llama2") is TEMPLATES["llama2"]


@pytest.mark.parametrize("content", [{"chat_template": [{"name": "a"}]}, {"chat_template": "{%"}])
def test_a_useless_shipped_template_is_named(
    tmp_path: Path, wordwise: Tokenizer, content: dict[str, Any]
) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"the chat_template in .*tokenizer_config\.json"):
        Processor.load(tmp_path)


@pytest.mark.parametrize("length", ["x", "2048", -1, 0, True, [5], float("nan")])
def test_a_senseless_length_is_named(tmp_path: Path, wordwise: Tokenizer, length: Any) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}))
    with pytest.raises(UsageError, match=r"model_max_length in .*tokenizer_config\.json should be"):
        Processor.load(tmp_path)


@pytest.mark.parametrize(("length", "room"), [(None, CONTEXT), (512.0, 512), (1e30, CONTEXT)])
def test_a_length_may_be_left_open(
    tmp_path: Path, wordwise: Tokenizer, length: float | None, room: int
) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "preprocessor_config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}))
    assert Processor.load(tmp_path).context == room


@pytest.mark.parametrize("asked", [5, ["plain"], {"name": "plain"}])
def test_a_chat_format_that_is_no_name_is_refused(
    tmp_path: Path, wordwise: Tokenizer, asked: Any
) -> None:
    wordwise.raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"chat_format": asked}))
    with pytest.raises(UsageError, match=r"chat_format in .*preprocessor_config\.json should be"):
        Processor.load(tmp_path)
