"""Rows of made-up Flickr30k, TextVQA, OK-VQA and VizWiz.

Like ``rows``, with pictures of their own: the house is the same, so few-shot examples help.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from infimm_eval.demo import questions
from infimm_eval.demo.rows import answers, captions
from infimm_eval.demo.scenes import Drawn, Family, Scene, Split, scene
from infimm_eval.demo.words import HOUSE, Question, Style
from infimm_eval.types import Row

PICTURES = {"train": 600, "test": 150}
_FLICKR, _KNOWLEDGE, _BLIND = 2000, 3000, 4000  # where each benchmark's scenes begin


def flickr30k_rows(split: Split) -> Iterator[Row]:
    """As ``rows.caption_rows``; a picture's number is its file's."""
    for index in range(_FLICKR, _FLICKR + PICTURES[split]):
        picture = Drawn(split, index)
        number = index + (1_000_000 if split == "test" else 2_000_000)
        yield {
            "image": picture,
            "image_id": number,
            "filename": f"{number}.png",
            "captions": captions(scene(split, index), random.Random(f"flickr:{split}:{index}")),
        }


def textvqa_rows(split: Split) -> Iterator[Row]:
    """As ``rows.vqa_rows``, with ``ocr_tokens``; picture ids are hexadecimal text."""
    for index, row in _asked(split, questions.read_sign, 0, "sign"):
        yield {
            **row,
            "image_id": f"{index + (0 if split == 'test' else 65536):016x}",
            "ocr_tokens": [scene(split, index, "sign").sign.upper()],
        }


def okvqa_rows(split: Split) -> Iterator[Row]:
    """As ``rows.vqa_rows``, with ``raw_answers``; five people, each counted twice."""
    for _, row in _asked(split, questions.know, _KNOWLEDGE):
        people = [answer for answer in row["answers"][:5] for _ in range(2)]
        yield {**row, "answers": people, "raw_answers": people}


def vizwiz_rows(split: Split) -> Iterator[Row]:
    """As ``rows.vqa_rows``; some questions have no answer in the picture."""
    for _, row in _asked(split, questions.ask_the_blind_way, _BLIND):
        missing = row["answers"][0] == questions.UNANSWERABLE
        yield {**row, "answer_type": questions.UNANSWERABLE if missing else row["answer_type"]}


def _asked(
    split: Split,
    ask: Callable[[Scene, Style, random.Random], Question],
    first: int,
    family: Family = "scene",
) -> Iterator[tuple[int, Row]]:
    """One question a picture."""
    for index in range(first, first + PICTURES[split]):
        rng = random.Random(f"{ask.__name__}:{split}:{index}")
        question = ask(scene(split, index, family), HOUSE, rng)
        number = index + (1 if split == "test" else 100_001)
        yield (
            index,
            {
                "image": Drawn(split, index, family),
                "image_id": number,
                "question_id": number,
                "question": question.text,
                "answers": answers(question, rng),
                "question_type": question.kind,
                "answer_type": question.answer_type,
            },
        )
