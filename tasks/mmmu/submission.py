"""MMMU's leaderboard file and the authors' per-subject outputs and answers.

Knows nothing of how answers are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.choices import require_letter
from infimm_eval.data.reading import column, text
from infimm_eval.errors import UsageError, named, shown
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

    Read also as the authors' per-subject folders, ``<Subject>/output.json``, or one such file,
    which bring options and right answers with them.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        write_json(path, {r.sample.id: r.text.strip() for r in records})

    def read(path: Path) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if _are_outputs(path):
            for file, number, row in _outputs(path):
                key = text(row, "id", file, number)
                said = column(row, "response", file, number)
                once(file, found, key, text_of(said, file, key))
            return found
        for key, value in load_object(path, "question ids to responses").items():
            once(path, found, key, text_of(value, path, key))
        return found

    return Submission(
        filename=filename,
        write=write,
        read=read,
        references=answers,
        missing="wrong",
        carries_answers=_are_outputs,
    )


def answers(path: Path) -> Iterator[Sample]:
    """``answer_dict_val.json`` (id to type and right answer), or a folder of per-subject outputs.

    The dictionary does not hold the options: a choice then has the letters A to H, of which any
    may be said, and no answer is known by its option's text.
    """
    if _are_outputs(path):
        for file, number, row in _outputs(path):
            key, options = text(row, "id", file, number), _options(row, file, number)
            if options:
                require_letter(column(row, "answer", file, number), options, f"{file}: {key}")
            yield _sample(row, "answer", key, options, file)
        return
    for key, row in load_object(path, "question ids to answers").items():
        truth = column(row, "ground_truth", path, 0)
        choice = column(row, "question_type", path, 0) == "multiple-choice"
        letters = ascii_uppercase[: max(_LETTERS, ascii_uppercase.find(str(truth)) + 1)]
        if choice:
            require_letter(truth, letters, f"{path}: {named(key)}")
        options = tuple((f"({letter})",) for letter in letters) if choice else ()
        yield _sample(row, "ground_truth", key, options, path)


def _options(row: Mapping[str, Any], file: Path, number: int) -> tuple[tuple[str], ...]:
    """The options of a row of outputs, which has their letters and a text for each."""
    letters, texts = row.get("all_choices") or [], row.get("index2ans") or {}
    known = isinstance(letters, list) and isinstance(texts, dict)
    if not known or letters != [*ascii_uppercase[: len(letters)]]:
        raise UsageError(
            f"{file} record {number}: all_choices is {shown(letters)}; the letters A, B, ... are "
            "wanted, with their texts in index2ans"
        )
    return tuple((str(texts.get(letter, "")),) for letter in letters)


_LETTERS = 8
"""A ninth would make a letter of the word "I"."""


def _are_outputs(path: Path) -> bool:
    """A folder of the authors' outputs, or those of one subject: a list."""
    return path.is_dir() or isinstance(load_json(path), list)


def _outputs(place: Path) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    files = sorted(place.glob("*/output.json")) if place.is_dir() else [place]
    if not files:
        raise UsageError(f"{place} holds no <Subject>/output.json")
    for file in files:
        for number, row in enumerate(entries(file, load_json(file))):
            yield file, number, row


def _sample(
    row: Mapping[str, Any], truth: str, key: str, options: tuple[tuple[str], ...], path: Path
) -> Sample:
    right = column(row, truth, path, 0)
    try:
        about = subject(key)
    except UsageError as stranger:
        raise UsageError(f"{path}: {stranger}") from None
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
