"""A tiny data folder in the layouts of COCO, Karpathy's split and VQAv2, drawn and written by code.

Knows the official layouts as downloads have them, and nothing of who reads them.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "bar")
COLOURS = ("red", "green", "blue", "white", "orange")
PICTURES = {"val2014": range(1, 7), "train2014": range(7, 15)}


def write(folder: Path) -> Path:
    """Six test and eight training pictures, five captions and two questions each."""
    for split, numbers in PICTURES.items():
        (folder / split).mkdir(parents=True)
        for number in numbers:
            _draw(folder / split / _name(split, number), *_seen(number))
        _put(folder / f"captions_{split}.json", _captions(split, numbers))
        _put(folder / f"v2_OpenEnded_mscoco_{split}_questions.json", _questions(split, numbers))
        _put(folder / f"v2_mscoco_{split}_annotations.json", _answers(split, numbers))
    _put(folder / "dataset_coco.json", _karpathy())
    return folder


def _seen(number: int) -> tuple[str, str]:
    return list(product(SHAPES, COLOURS))[number - 1]


def _name(split: str, number: int) -> str:
    return f"COCO_{split}_{number:012d}.jpg"


def _draw(path: Path, shape: str, colour: str) -> None:
    picture = Image.new("RGB", (64, 48), "black")
    pen = ImageDraw.Draw(picture)
    if shape == "circle":
        pen.ellipse((20, 12, 44, 36), fill=colour)
    else:
        pen.rectangle((20, 12, 44, 36) if shape == "square" else (4, 20, 60, 28), fill=colour)
    picture.save(path)


def _said(number: int) -> list[str]:
    shape, colour = _seen(number)
    return [
        f"A {colour} {shape} on a black ground.",
        f"There is a {shape} in the middle, and it is {colour}.",
        f"a {colour} {shape}",
        f"One {shape}, painted {colour}, before the dark.",
        f"The {colour} {shape} has nothing beside it.",
    ]


def _captions(split: str, numbers: range) -> dict[str, Any]:
    return {
        "info": {"description": "drawn and written by code"},
        "images": [
            {"id": n, "file_name": _name(split, n), "height": 48, "width": 64} for n in numbers
        ],
        "annotations": [
            {"image_id": n, "id": 10 * n + k, "caption": text}
            for n in numbers
            for k, text in enumerate(_said(n))
        ],
    }


def _questions(split: str, numbers: range) -> dict[str, Any]:
    asked = ("What color is the shape?", "Is there a circle?")
    return {
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "data_subtype": split,
        "questions": [
            {"image_id": n, "question": question, "question_id": 1000 * n + k}
            for n in numbers
            for k, question in enumerate(asked)
        ],
    }


def _answers(split: str, numbers: range) -> dict[str, Any]:
    return {
        "data_type": "mscoco",
        "data_subtype": split,
        "annotations": [
            {
                "question_type": kind,
                "multiple_choice_answer": answer,
                "answers": [
                    {"answer": text, "answer_confidence": "yes", "answer_id": person}
                    for person, text in enumerate([answer] * 8 + ["black", "no idea"], 1)
                ],
                "image_id": n,
                "answer_type": answer_type,
                "question_id": 1000 * n + k,
            }
            for n in numbers
            for k, (kind, answer_type, answer) in enumerate(_right(n))
        ],
    }


def _right(number: int) -> list[tuple[str, str, str]]:
    shape, colour = _seen(number)
    return [
        ("what color is the", "other", colour),
        ("is there a", "yes/no", "yes" if shape == "circle" else "no"),
    ]


def _karpathy() -> dict[str, Any]:
    pictures = [(split, n) for split, numbers in PICTURES.items() for n in numbers]
    return {
        "dataset": "coco",
        "images": [
            {
                "filepath": split,
                "filename": _name(split, n),
                "imgid": n - 1,
                "cocoid": n,
                "split": "test" if split == "val2014" else "train",
                "sentids": [10 * n + k for k in range(5)],
                "sentences": [
                    {
                        "tokens": text.lower().replace(",", "").rstrip(".").split(),
                        "raw": text,
                        "imgid": n - 1,
                        "sentid": 10 * n + k,
                    }
                    for k, text in enumerate(_said(n))
                ],
            }
            for split, n in pictures
        ],
    }


def _put(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
