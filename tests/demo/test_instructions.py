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
from infimm_eval.demo.scenes import Scene, scene
from infimm_eval.demo.train import tiny
from infimm_eval.demo.train.documents import Document
from infimm_eval.demo.train.instructions import KINDS, Kind, conversation, multitask, turn
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
    (first, _), (second, _) = turn(((IMAGE + asked, said),))[0], turn(((asked, said),))[0]
    trained = f"{first} {said}</s>{second}"
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
            assert all(one.trained for one in document)
            assert document[-1].end == end
            assert all((one.end == "nothing") == (one.weight < 1) for one in document)


def test_a_turn_ends_with_the_end_of_the_text() -> None:
    reader = Reader(TOKENIZER)
    end = TOKENIZER.token_to_id("</s>")
    for seed in range(20):
        document = made("letters", seed)
        row = reader._row(document, Random(seed))
        turns = sum(one.end == "turn" for one in document)
        assert sum(i == end for i in row.ids) == turns
        assert all(weight == 1 for i, weight in zip(row.ids, row.weights, strict=True) if i == end)


def test_what_is_learned_of_a_request_is_true_of_the_picture() -> None:
    seen = 0
    for seed in range(60):
        *request, answer = made("yes or no", seed, multitask)
        if request:
            assert answer.answer == "yes"
            seen += 1
        option, letter = made("letters", seed, multitask)
        assert option.prompt.rstrip().endswith(f"{letter.answer}.")
    assert 20 < seen < 40


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
