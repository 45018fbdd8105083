"""ScienceQA's leaderboard file, LLaVA's lists of outputs, and the authors' problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

from infimm_eval.data.reading import column
from infimm_eval.errors import UsageError
from infimm_eval.scorers.choice import hear
from infimm_eval.submissions.files import entries, load_object, once, text_of, write_json
from infimm_eval.types import Record, Sample, Submission

from .scorers import read_llava


def results(filename: str, *, pictures_only: bool) -> Submission:
    """``{"results": {"5": 1, ...}}`` with option numbers; ``outputs`` keeps what was said.

    Read also as LLaVA's lists of ``correct`` and ``incorrect`` questions.  ``pictures_only``
    takes the questions with a picture out of references that hold all.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        indices = {r.sample.id: _index(r) for r in records}
        write_json(path, {"results": indices, "outputs": {r.sample.id: _said(r) for r in records}})

    def read(path: Path) -> Mapping[str, str]:
        body = load_object(path, "results to option numbers")
        if "correct" in body and "incorrect" in body and isinstance(body["correct"], list):
            found: dict[str, str] = {}
            for number, row in enumerate(entries(path, [*body["correct"], *body["incorrect"]])):
                key = str(column(row, "question_id", path, number))
                once(path, found, key, text_of(column(row, "pred", path, number), path, key))
            return found
        said, numbers = body.get("outputs"), body.get("results")
        if isinstance(said, dict) and said:
            return {key: text_of(value, path, key) for key, value in said.items()}
        if not isinstance(numbers, dict):
            raise UsageError(f"{path} has neither results (ids to option numbers) nor outputs")
        return {key: _letter(value, path, key) for key, value in numbers.items()}

    def references(path: Path) -> Iterator[Sample]:
        for sample in problems(path):
            if not pictures_only or sample.tags["modality"] == "IMG":
                yield sample

    return Submission(
        filename=filename, write=write, read=read, references=references, missing="wrong"
    )


def problems(path: Path) -> Iterator[Sample]:
    """The test questions of ``problems.json``, or those in LLaVA's output lists."""
    body = load_object(path, "questions to problems")
    if "correct" in body and "incorrect" in body:
        for row in [*body["correct"], *body["incorrect"]]:
            yield Sample(
                id=str(column(row, "question_id", path, 0)),
                references=(column(row, "ground_truth", path, 0),),
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
            yield Sample(
                id=key,
                references=(ascii_uppercase[row["answer"]],),
                options=tuple((choice,) for choice in row["choices"]),
                tags={k: str(row[k]) for k in ("subject", "topic", "grade") if row.get(k)}
                | {"modality": "IMG" if row.get("image") else "TXT"},
            )


def _letter(number: object, path: Path, key: str) -> str:
    """An option's number as its letter; -1 stands for no answer."""
    if not isinstance(number, int) or not -1 <= number < len(ascii_uppercase):
        raise UsageError(f"{path}: the result for {key} is {number!r}; it should be an index or -1")
    return ascii_uppercase[number] if number >= 0 else ""


def _index(record: Record) -> int:
    letter = hear(record, read_llava)
    return ascii_uppercase.find(letter) if letter else -1


def _said(record: Record) -> str:
    """What was said; of options ranked by likelihood, the likeliest's letter."""
    return hear(record, read_llava) if record.answer.logliks else record.text
