"""Requests of the later stages of training are written as benchmarks are asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from random import Random
from typing import TypeAlias

import pytest
from tokenizers import Tokenizer

from infimm_eval import registry
from infimm_eval.demo.scenes import COLORS, Scene, scene
from infimm_eval.demo.train import tiny
from infimm_eval.demo.train.documents import Document
from infimm_eval.demo.train.instructions import KINDS, Kind, Span, conversation, multitask, turn
from infimm_eval.demo.train.labels import truths
from infimm_eval.demo.train.reading import Reader
from infimm_eval.demo.vocabulary import IMAGE
from infimm_eval.flamingo.jinja_template import shipped
from infimm_eval.flamingo.templates import Turn, with_media
from infimm_eval.flamingo.tokenizer import IMAGE as PICTURE
from infimm_eval.flamingo.tokenizer import Mark, Piece
from infimm_eval.models.flamingo.build import DEMO
from infimm_eval.prompts import Prompter

SCENES = [scene("train", index, "sign" if index % 4 == 0 else "scene") for index in range(40)]
TOKENIZER = Tokenizer.from_file(str(DEMO / "tokenizer.json"))


Maker: TypeAlias = Callable[[Kind, Sequence[Scene], Sequence[int], Random], Document]


def made(name: str, seed: int, make: Maker = conversation) -> Document:
    kind = KINDS[name]
    among = [i for i, one in enumerate(SCENES) if bool(one.sign) == kind.signs]
    return make(kind, SCENES, among, Random(seed))


def spelled(pieces: list[Piece]) -> str:
    marks = {PICTURE: IMAGE, Mark.END_OF_CHUNK: "<|endofchunk|>", Mark.EOS: "</s>"}
    return "".join(piece if isinstance(piece, str) else marks[piece] for piece in pieces)


def read(document: Document) -> str:
    """All its text, without what is only the last answer of a turn."""
    return "".join(f" {e.prompt} {e.answer if e.end == 'nothing' else ''}" for e in document)


def test_a_conversation_is_what_the_shipped_chat_template_writes() -> None:
    template = shipped(tiny.CHAT_TEMPLATE, "the demo's")
    asked, said = "Is there a star?", "yes"
    turns = [Turn("user", (PICTURE, asked)), Turn("assistant", said), Turn("user", asked)]
    written = spelled(list(with_media(template.render(None, turns), template.media)))
    (first,), (second,) = turn((Span(IMAGE + asked, said),)), turn((Span(asked, said),))
    trained = f"{first.read} {said}</s>{second.read}"
    ids = [TOKENIZER.encode(text, add_special_tokens=False).ids for text in (written, trained)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("name", KINDS)
def test_every_request_shows_its_pictures_and_says_only_known_words(name: str) -> None:
    for seed in range(30):
        for one in made(name, seed):
            assert one.prompt.count(IMAGE) == len(one.pictures)
            for text in (one.prompt, one.answer):
                assert "<unk>" not in TOKENIZER.encode(text).tokens, text


@pytest.mark.parametrize("name", KINDS)
def test_an_answer_ends_a_chunk_or_a_turn_and_the_words_of_a_request_nothing(name: str) -> None:
    for make, end in ((multitask, "chunk"), (conversation, "turn")):
        for seed in range(10):
            document = made(name, seed, make)
            assert not any(one.trained and one.true is False for one in document)
            assert document[-1].trained and document[-1].true is None
            assert document[-1].end == end
            assert all((one.end == "nothing") == (one.weight < 1) for one in document)


def test_a_turn_ends_with_the_end_of_the_text() -> None:
    reader = Reader(TOKENIZER)
    end = TOKENIZER.token_to_id("</s>")
    for seed in range(20):
        document = made("letters", seed)
        row = reader._row(0, document, Random(seed))
        turns = sum(one.end == "turn" for one in document)
        assert sum(i == end for i in row.ids) == turns
        assert all(weight == 1 for i, weight in zip(row.ids, row.weights, strict=True) if i == end)


def test_what_is_learned_of_a_request_is_true_of_the_picture() -> None:
    for seed in range(60):
        *options, letter = made("letters", seed, multitask)
        (right,) = [option for option in options if option.true]
        assert right.trained and right.prompt.rstrip().endswith(f"{letter.answer}.")
        assert not any(option.trained for option in options if option is not right)


def test_it_is_known_at_the_last_word_whether_a_statement_or_an_option_is_true() -> None:
    reader = Reader(TOKENIZER)
    for seed in range(20):
        statement, answer = made("yes or no", seed, multitask)
        row = reader._row(0, (statement, answer), Random(seed))
        (where,) = [i for i, true in enumerate(row.true) if true >= 0]
        assert row.true[where] == (answer.answer == "yes")
        assert (
            TOKENIZER.id_to_token(row.ids[where]) == TOKENIZER.encode(statement.answer).tokens[-1]
        )


def test_yes_is_as_often_right_as_no() -> None:
    answers = [made("yes or no", seed, multitask)[-1].answer for seed in range(60)]
    assert set(answers) == {"yes", "no"}
    assert 20 < answers.count("yes") < 40


def test_facts_are_those_of_the_scene() -> None:
    """Of every part (colors, shapes, grounds, ...) as many as there are to tell."""
    scenes = [scene("train", index) for index in range(40)]
    for one, told in zip(scenes, truths(scenes), strict=True):
        things = one.things
        colors, shapes = {t.color for t in things}, {t.shape for t in things}
        pairs = {(t.color, t.shape) for t in things}
        assert told.sum() == len(colors) + len(shapes) + 1 + 1 + 3 * len(things) + len(pairs)
        assert [told[COLORS.index(c)].item() for c in colors] == [1.0] * len(colors)


TASKS = {
    "scienceqa": ("letters", "letters from text"),
    "mmbench": ("letters",),
    "mme": ("yes or no", "yes or no, signs"),
    "mmmu": ("letters in brackets", "letters, second picture", "which picture", "numbers"),
}


@pytest.mark.parametrize("task", TASKS)
def test_benchmarks_are_asked_as_was_trained(task: str) -> None:
    """By the last words of a request, and by where its pictures and letters stand."""
    benchmark = registry.load(task)
    endings = {request(name, seed) for name in TASKS[task] for seed in range(40)}
    ask = Prompter("instruct", benchmark.templates["instruct"])
    assert benchmark.source.demo is not None
    for row in islice(benchmark.source.demo(), 0, None, 7):
        (turn,) = ask(benchmark.sample(row), ()).turns
        text = "".join(part if isinstance(part, str) else IMAGE for part in turn.content)
        assert ending(text) in endings, text


def request(name: str, seed: int) -> str:
    """The first turn, in which words of options stand behind a blank as in a prompt."""
    text = read(made(name, seed)).split(" ASSISTANT:")[0].strip().removeprefix("USER: ")
    return ending(text.replace("<|endofchunk|>", ""))


def ending(text: str) -> str:
    options = "".join(re.findall(r"(?m)^\(?[A-D][).]|<image>", text))
    last = re.split(r"(?<=[?.]) |\n", text)[-1]
    return f"{options}|{last.strip()}"
