"""Seconds that scorers take on corpora of full size.

    python tests/bench/bench_scorers.py [--meteor]

VQAv2 val (214,354 answers, ten people each, in every dialect) and a COCO-sized caption corpus
(5,000 pictures with five references, tokenising included), both made up from a fixed seed.
Prints JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from infimm_eval.scorers import caption, learn, score, vqa
from infimm_eval.types import Answer, Record, Sample, Scorer

THINGS = ["man", "woman", "dog", "cat", "bus", "train", "pizza", "horse", "kite", "beach", "table"]
LOOKS = ["red", "blue", "small", "large", "old", "wooden", "young", "white", "black", "striped"]
DEEDS = ["sits on", "stands next to", "looks at", "plays with", "rides past", "lies under"]


def answers(count: int, dice: random.Random) -> list[Record]:
    common = ["yes", "no", "2", "1", "white", *THINGS]
    rare = [f"{a} {b}'s {n}-sided, {n},000 th." for a in LOOKS for b in THINGS for n in range(99)]
    found = []
    for number in range(count):
        people = tuple(dice.choice(common if dice.random() < 0.9 else rare) for _ in range(10))
        said = dice.choice(people)
        found.append(Record(Sample(id=str(number), references=people), Answer("", said), said))
    return found


def captions(count: int, dice: random.Random) -> list[Record]:
    def sentence() -> str:
        one, other = (f"a {dice.choice(LOOKS)} {dice.choice(THINGS)}" for _ in range(2))
        return f"{one} {dice.choice(DEEDS)} {other}.".capitalize()

    found = []
    for number in range(count):
        people, said = tuple(sentence() for _ in range(5)), sentence()
        found.append(Record(Sample(id=str(number), references=people), Answer("", said), said))
    return found


def seconds(scorer: Scorer, records: Sequence[Record]) -> dict[str, Any]:
    began, worked = time.perf_counter(), time.process_time()
    learned = learn(scorer, [record.sample for record in records])
    scored = len(score(scorer, records, learned).scores)
    return {
        "scored": scored,
        "wall_s": round(time.perf_counter() - began, 2),
        "cpu_s": round(time.process_time() - worked, 2),
    }


def main(arguments: Sequence[str]) -> None:
    dice = random.Random(0)
    questions, pictures = answers(214_354, dice), captions(5_000, dice)
    todo: dict[str, Callable[[], dict[str, Any]]] = {
        "vqa always": lambda: seconds(vqa.always, questions),
        "vqa official": lambda: seconds(vqa.official, questions),
        "vqa evalai": lambda: seconds(vqa.evalai, questions),
        "cider, bleu, rouge": lambda: seconds(caption.cider, pictures),
    }
    if "--meteor" in arguments:
        todo["cider, bleu, rouge, meteor"] = lambda: seconds(caption.cider_and_meteor, pictures)
    print(json.dumps({name: measure() for name, measure in todo.items()}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
