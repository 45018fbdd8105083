"""MMMU's leaderboard file and the authors' per-subject outputs and answers.

Knows nothing of how answers are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.reading import column
from infimm_eval.errors import UsageError
from infimm_eval.submissions.files import (
    entries,
    load_json,
    load_object,
    once,
    text_of,
    write_json,
)
from infimm_eval.types import Record, Sample, Submission

from .subjects import SUBJECTS, subject


def dictionary(filename: str) -> Submission:
    """``{"validation_Art_1": "B", ...}``: a letter, or text for an open question.

    Read also as the authors' per-subject folders, ``<Subject>/output.json``, which bring options
    and right answers with them.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        write_json(path, {r.sample.id: r.text.strip() for r in records})

    def read(path: Path) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if path.is_dir():
            for file, number, row in _outputs(path):
                key = column(row, "id", file, number)
                said = column(row, "response", file, number)
                once(file, found, key, text_of(said, file, key))
            return found
        for key, value in load_object(path, "question ids to responses").items():
            once(path, found, key, text_of(value, path, key))
        return found

    return Submission(
        filename=filename, write=write, read=read, references=answers, missing="wrong"
    )


def answers(path: Path) -> Iterator[Sample]:
    """``answer_dict_val.json`` (id to type and right answer), or a folder of per-subject outputs.

    The dictionary does not hold the options: a choice then has the letters A to H, of which any
    may be said, and no answer is known by its option's text.
    """
    if path.is_dir():
        for file, number, row in _outputs(path):
            texts = row.get("index2ans") or {}
            options = tuple((str(texts.get(k, "")),) for k in row.get("all_choices") or ())
            yield _sample(row, "answer", column(row, "id", file, number), options, file)
        return
    for key, row in load_object(path, "question ids to answers").items():
        truth = str(column(row, "ground_truth", path, 0))
        letters = ascii_uppercase[: max(_LETTERS, ascii_uppercase.find(truth) + 1)]
        choice = column(row, "question_type", path, 0) == "multiple-choice"
        options = tuple((f"({letter})",) for letter in letters) if choice else ()
        yield _sample(row, "ground_truth", key, options, path)


_LETTERS = 8
"""A ninth would make a letter of the word "I"."""


def _outputs(folder: Path) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    files = sorted(folder.glob("*/output.json"))
    if not files:
        raise UsageError(f"{folder} holds no <Subject>/output.json")
    for file in files:
        for number, row in enumerate(entries(file, load_json(file))):
            yield file, number, row


def _sample(
    row: Mapping[str, Any], truth: str, key: str, options: tuple[tuple[str], ...], path: Path
) -> Sample:
    right = column(row, truth, path, 0)
    about = subject(key)
    return Sample(
        id=key,
        references=tuple(map(str, right)) if isinstance(right, list) else (str(right),),
        options=options,
        tags={
            "subject": about,
            "question_type": column(row, "question_type", path, 0),
            "discipline": SUBJECTS[about],
        },
    )
