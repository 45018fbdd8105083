"""Text and marks become ids, and no text passes for a mark."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.sentencepiece import convert
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Mark, Piece, Tokenizer

MARKS = {"<|endofchunk|>": 32000, "<image>": 32001}
SPELT = {IMAGE: "<image>", END_OF_CHUNK: "<|endofchunk|>", Mark.EOS: "</s>", Mark.BOS: "<s>"}

texts = st.text(st.sampled_from(list("abc <>/s|image \n\téß图🐱.")), max_size=30)
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def spelt_out(pieces: list[Piece]) -> str:
    return "".join(piece if isinstance(piece, str) else SPELT[piece] for piece in pieces)


def is_plain(pieces: list[Piece]) -> bool:
    """Whether no text spells a special token, alone or with its neighbour."""
    texts = "".join(piece if isinstance(piece, str) else "\0" for piece in pieces)
    return not any(name in texts for name in [*SPELT.values(), "<unk>"])


@given(pieces=st.lists(texts | st.sampled_from(list(SPELT)), max_size=8))
@quick
def test_ids_are_those_of_the_whole_string(zephyr: Tokenizer, pieces: list[Piece]) -> None:
    if is_plain(pieces):
        assert zephyr.encode(pieces) == zephyr.raw.encode(spelt_out(pieces)).ids


@given(pieces=st.lists(texts | st.sampled_from([*SPELT, *SPELT.values(), "<unk>"]), max_size=8))
@quick
def test_no_text_ever_becomes_a_mark(zephyr: Tokenizer, pieces: list[Piece]) -> None:
    special = {0, 1, 2, 32000, 32001}
    meant = [zephyr.id(piece) for piece in pieces if isinstance(piece, Mark)]
    assert [i for i in zephyr.encode(pieces) if i in special] == [1, *meant]


@pytest.mark.parametrize("mark", [*SPELT])
@pytest.mark.parametrize("cut", [0, 2])
def test_a_special_token_spelt_in_a_question_stays_text(
    zephyr: Tokenizer, mark: Mark, cut: int
) -> None:
    name = SPELT[mark]
    question: list[Piece] = [IMAGE, "What does " + name[:cut], name[cut:] + " mean?"]
    assert zephyr.decode(zephyr.encode(question)) == f"What does {name} mean?"
    assert zephyr.encode(question).count(zephyr.id(IMAGE)) == 1
    assert zephyr.encode(question, literal=False).count(zephyr.id(mark)) > (mark is Mark.BOS)


def test_a_vocabulary_of_whole_words_reads_a_spelt_mark_as_an_unknown_word(
    wordwise: Tokenizer,
) -> None:
    ids = wordwise.encode([IMAGE, "what is <image> ?"])
    assert [wordwise.raw.id_to_token(i) for i in ids] == [
        "<s>",
        "<image>",
        "what",
        "is",
        "<unk>",
        "?",
    ]


def test_a_normalizer_that_makes_marks_of_other_characters_is_caught(wordwise: Tokenizer) -> None:
    wordwise.raw.normalizer = normalizers.NFKC()
    folding = Tokenizer(wordwise.raw)
    fullwidth = "what is \uff1cimage\uff1e ?"
    assert folding.raw.encode(fullwidth).ids.count(folding.id(IMAGE)) == 1
    assert folding.id(IMAGE) not in folding.encode([fullwidth])


@pytest.mark.slow
def test_a_tokenizer_that_treats_the_first_word_apart_still_agrees_with_the_whole_string(
    zephyr: Tokenizer,
) -> None:
    raw = tokenizers.Tokenizer.from_str(zephyr.raw.to_str())
    raw.normalizer = normalizers.Replace(" ", "\u2581")
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    newer = Tokenizer(raw)
    pieces: list[Piece] = ["One ", IMAGE, "two", END_OF_CHUNK, " three"]
    assert newer.encode(pieces) == raw.encode(spelt_out(pieces)).ids != zephyr.encode(pieces)


def test_half_a_surrogate_pair_is_a_replacement_character(zephyr: Tokenizer) -> None:
    assert zephyr.encode(["a \ud83d b"]) == zephyr.encode(["a \ufffd b"])
    assert zephyr.encode(["\ud83d", "\udc31"]) == zephyr.encode(["\U0001f431"])
    assert zephyr.continuation("\ud83d", " \ud83d") == zephyr.continuation("a", " \ufffd")


def test_the_conversion_agrees_with_sentencepiece_on_any_text(
    zephyr: Tokenizer, sentencepiece_file: Path
) -> None:
    import sentencepiece

    original = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_file))
    dice = random.Random(7)
    common = [original.id_to_piece(i).replace("\u2581", " ") for i in range(259, 9000)]
    for _ in range(200):
        text = "".join(dice.choices(common, k=12)) + dice.choice(["", "  ", "\n\n", "   x", "🐱"])
        assert zephyr.encode([text])[1:] == original.encode(text), text


def test_continuations_are_what_follows_the_prompt(zephyr: Tokenizer) -> None:
    for tail, text in [
        ("Answer:", " yes"),
        ("\n<|assistant|>\n", "A cat."),
        ("", "red"),
        ("a", ""),
    ]:
        ids = zephyr.continuation(tail, text)
        assert [*zephyr.encode([tail]), *ids] == zephyr.encode([tail + text])


def test_a_continuation_that_would_merge_with_the_prompt_leaves_the_prompt_alone(
    zephyr: Tokenizer,
) -> None:
    assert zephyr.encode(["in"]) + zephyr.encode(["form"])[1:] != zephyr.encode(["inform"])
    ids = zephyr.continuation("in", "form")
    assert [zephyr.raw.id_to_token(i) for i in ids] == ["form"]


def test_a_word_that_cannot_be_split_from_the_prompt_is_refused(wordwise: Tokenizer) -> None:
    settings = json.loads(wordwise.raw.to_str()) | {"pre_tokenizer": None}
    whole = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(settings)))
    with pytest.raises(UsageError, match=r"'cat' cannot be tokenized as the continuation of"):
        whole.continuation("red ", "cat")


def test_padding_and_special_tokens_are_not_part_of_an_answer(zephyr: Tokenizer) -> None:
    answer = zephyr.encode(["A cat."])[1:]
    assert zephyr.decode([*answer, 2, 2, 2]) == "A cat."


def checkpoint(folder: Path, raw: tokenizers.Tokenizer, **files: Any) -> Path:
    raw.save(str(folder / "tokenizer.json"))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_folder_names_its_own_special_tokens(tmp_path: Path, wordwise: Tokenizer) -> None:
    wordwise.raw.add_special_tokens(["<end>", "<nothing>"])
    settings = {"eos_token": {"content": "<end>"}, "pad_token": "<nothing>", "bos_token": None}
    loaded = Tokenizer.load(checkpoint(tmp_path, wordwise.raw, tokenizer_config=settings))
    assert loaded.name(Mark.EOS) == "<end>"
    assert loaded.raw.id_to_token(loaded.pad_id) == "<nothing>"
    assert loaded.encode(["red cat"]) == wordwise.encode(["red cat"])


@pytest.mark.parametrize("token", [{"text": "</s>"}, 2, ["</s>"]])
def test_a_special_token_without_a_text_is_refused(
    tmp_path: Path, wordwise: Tokenizer, token: Any
) -> None:
    checkpoint(tmp_path, wordwise.raw, tokenizer_config={"eos_token": token})
    with pytest.raises(
        UsageError, match=r"eos_token in .*tokenizer_config\.json should be a token"
    ):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer_config", {"added_tokens_decoder": ["<image>"]}, "should give every id its"),
        ("tokenizer_config", {"added_tokens_decoder": {"x": "<image>"}}, "should give every id"),
        ("tokenizer_config", {"added_tokens_decoder": {"5": {"text": "a"}}}, "should be a token"),
        ("added_tokens", {"<image>": "32001"}, "should give every token its id"),
    ],
)
def test_added_tokens_that_cannot_be_read_are_refused(
    tmp_path: Path, file: str, content: dict[str, Any], message: str
) -> None:
    (tmp_path / "tokenizer.model").write_text("nobody reads it before the names are known")
    (tmp_path / f"{file}.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        Tokenizer.load(tmp_path)


def test_limits_left_in_a_file_do_not_shorten_prompts(tmp_path: Path, wordwise: Tokenizer) -> None:
    wordwise.raw.enable_truncation(2)
    wordwise.raw.enable_padding(length=9)
    loaded = Tokenizer.load(checkpoint(tmp_path, wordwise.raw))
    assert len(loaded.encode(["a red cat"])) == 4


def test_a_folder_whose_numbers_disagree_is_refused(tmp_path: Path, wordwise: Tokenizer) -> None:
    checkpoint(tmp_path, wordwise.raw, config={"image_token_id": 4, "eoc_token_id": 9})
    with pytest.raises(UsageError, match=r"eoc_token_id 9, but .*<\|endofchunk\|>' the id 3"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_without_the_marks_is_refused(zephyr: Tokenizer) -> None:
    with pytest.raises(UsageError, match="no token '<picture>'"):
        Tokenizer(zephyr.raw, image="<picture>")


@pytest.mark.slow
def test_a_bare_sentencepiece_model_is_as_good(
    tmp_path: Path, sentencepiece_file: Path, zephyr: Tokenizer
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_file.read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps(MARKS))
    pieces: list[Piece] = ["Look: ", IMAGE, " red\n", END_OF_CHUNK]
    assert Tokenizer.load(tmp_path).encode(pieces) == zephyr.encode(pieces)

    (tmp_path / "added_tokens.json").unlink()
    decoder = {str(i): {"content": content} for content, i in MARKS.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    assert Tokenizer.load(tmp_path).encode(pieces) == zephyr.encode(pieces)


def test_a_pointer_that_nobody_needs_is_no_obstacle(tmp_path: Path, wordwise: Tokenizer) -> None:
    (tmp_path / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1\n")
    checkpoint(tmp_path, wordwise.raw)
    assert Tokenizer.load(tmp_path).encode(["red cat"]) == wordwise.encode(["red cat"])


@pytest.mark.slow
def test_marks_that_cannot_have_their_number_are_refused(sentencepiece_file: Path) -> None:
    with pytest.raises(UsageError, match="'<image>' should have the id 32001, but 32000"):
        convert(sentencepiece_file, {"<image>": 32001})


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (None, "", "neither tokenizer.json nor tokenizer.model"),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
        ("tokenizer.model", "version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
        ("tokenizer.json", "{}", "is not a tokenizer"),
        ("tokenizer.model", "nonsense", "is not a sentencepiece model"),
        ("tokenizer_config.json", "{", "is not JSON"),
        ("tokenizer_config.json", "[]", "holds a list, not an object"),
    ],
)
def test_a_folder_without_a_usable_tokenizer_says_why(
    tmp_path: Path, file: str | None, content: str, message: str
) -> None:
    if file == "tokenizer.model":
        pytest.importorskip("sentencepiece", reason="the package sentencepiece is not installed")
    if file:
        (tmp_path / file).write_text(content)
    with pytest.raises(UsageError, match=message):
        Tokenizer.load(tmp_path)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    with pytest.raises(UsageError, match="pip install sentencepiece"):
        convert(Path("tokenizer.model"), {})
