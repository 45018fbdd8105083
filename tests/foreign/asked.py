"""The questions of the made-up logs, and how one is scored in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infimm_eval.logs.foreign import open_foreign
from infimm_eval.run import foreign
from infimm_eval.run.score_file import How

PEOPLE = [["red"] * 9 + ["blue"], ["2"] * 3 + ["many"] * 7, ["no"] * 10, ["yes"] * 10]
QUESTIONS = ["What colour is it?", "How many are there?", "Is it round?", "Is it red?"]
IDS = [900001000, 900001001, 900002002, 900003003]
DOCS = [
    {"question_id": id, "question": question, "answers": people, "answer": people[0]}
    for id, question, people in zip(IDS, QUESTIONS, PEOPLE, strict=True)
]


def score(path: Path, **reading: Any) -> foreign.ForeignResult:
    log = open_foreign(path)
    assert log is not None
    return foreign.score(log, foreign.Reading(**reading), How())
