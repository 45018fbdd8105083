"""ScienceQA's leaderboard file, LLaVA's lists of outputs, and the authors' problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.choices import letter_of, require_letter
from infimm_eval.data.reading import column, identifier, listed
from infimm_eval.errors import UsageError, named, shown
from infimm_eval.scorers.choice import hear
from infimm_eval.submissions.files import entries, load_object, once, text_of, write_json
from infimm_eval.types import Record, Sample, Submission

from .scorers import read_llava


def results(filename: str, *, pictures_only: bool) -> Submission:
    """``{"results": {"5": 1, ...}}`` with option numbers; ``outputs`` keeps what was said.

    Read also as LLaVA's lists of ``correct`` and ``incorrect`` questions.  Of a file with both,
    ``outputs`` are read, which the scorers know how to; where they are not there for every
    result, the ``results``.  ``pictures_only`` takes the questions with a picture out of
    references that hold all.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        indices = {r.sample.id: _index(r) for r in records}
        write_json(path, {"results": indices, "outputs": {r.sample.id: _said(r) for r in records}})

    def read(path: Path) -> Mapping[str, str]:
        body = load_object(path, "results to option numbers")
        if _lists(body):
            found: dict[str, str] = {}
            for number, row in enumerate(_both(body, path)):
                key = str(identifier(row, "question_id", path, number))
                once(path, found, key, text_of(column(row, "pred", path, number), path, key))
            return found
        if _field(body, path) == "outputs":
            return {key: text_of(value, path, key) for key, value in body["outputs"].items()}
        return {key: _letter(value, path, key) for key, value in body["results"].items()}

    def field(path: Path) -> str:
        body = load_object(path, "results to option numbers")
        return "pred" if _lists(body) else _field(body, path)

    def references(path: Path) -> Iterator[Sample]:
        for sample in problems(path):
            if not pictures_only or sample.tags["modality"] == "IMG":
                yield sample

    return Submission(
        filename=filename,
        write=write,
        read=read,
        references=references,
        missing="wrong",
        carries_answers=lambda path: _lists(load_object(path, "results to option numbers")),
        field=field,
    )


def problems(path: Path) -> Iterator[Sample]:
    """The test questions of ``problems.json``, or those in LLaVA's output lists."""
    body = load_object(path, "questions to problems")
    if _lists(body):
        for number, row in enumerate(_both(body, path)):
            truth = column(row, "ground_truth", path, number)
            require_letter(truth, "ABCDE", f"{path} record {number}")
            yield Sample(
                id=str(identifier(row, "question_id", path, number)),
                references=(truth,),
                options=tuple(("",) for _ in "ABCDE"),
                tags={"modality": "IMG" if row.get("is_multimodal") else "TXT"},
            )
        return
    for key, row in body.items():
        if not isinstance(row, dict) or "choices" not in row:
            raise UsageError(
                f"{path} is neither problems.json nor a list of outputs; "
                "give problems.json, or the folder that holds it, as --references"
            )
        if row.get("split", "test") == "test":
            choices = listed(row, "choices", path, 0)
            where = f"{path}: problem {key}"
            yield Sample(
                id=key,
                question=(row["question"],) if isinstance(row.get("question"), str) else (),
                references=(letter_of(row.get("answer"), choices, where),),
                options=tuple((choice,) for choice in choices),
                tags={k: str(row[k]) for k in ("subject", "topic", "grade") if row.get(k)}
                | {"modality": "IMG" if row.get("image") else "TXT"},
            )


def _lists(body: Mapping[str, Any]) -> bool:
    """Whether these are LLaVA's lists (its ``correct`` may also be a count)."""
    return isinstance(body.get("correct"), list) and "incorrect" in body


def _both(body: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    yield from entries(path, body["correct"])
    yield from entries(path, body["incorrect"])


def _field(body: Mapping[str, Any], path: Path) -> str:
    said, numbers = body.get("outputs"), body.get("results")
    if (
        isinstance(said, dict)
        and said
        and (not isinstance(numbers, dict) or numbers.keys() <= said.keys())
    ):
        return "outputs"
    if not isinstance(numbers, dict):
        raise UsageError(f"{path} has neither results (ids to option numbers) nor outputs")
    return "results"


def _letter(number: object, path: Path, key: str) -> str:
    """An option's number as its letter; -1 stands for no answer."""
    if type(number) is not int or not -1 <= number < len(ascii_uppercase):
        raise UsageError(
            f"{path}: the result for {named(key)} is {shown(number)}; it should be an index or -1"
        )
    return ascii_uppercase[number] if number >= 0 else ""


def _index(record: Record) -> int:
    letter = hear(record, read_llava)
    return ascii_uppercase.find(letter) if letter else -1


def _said(record: Record) -> str:
    """What was said; of options ranked by likelihood, the likeliest's letter."""
    return hear(record, read_llava) if record.answer.logliks else record.text
