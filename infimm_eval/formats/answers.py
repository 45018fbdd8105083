"""Results as one JSON object from id to answer: MMMU, MM-Vet, InfiMM-Eval, ScienceQA.

Reads their authors' answer files and a judge's grades too.  Asks no judge and knows no scorer but
the one that turns an answer into the option's number, for ScienceQA's leaderboard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.choices import SUBJECTS, subject
from infimm_eval.data.reading import column
from infimm_eval.errors import UsageError
from infimm_eval.formats.files import entries, load_json, load_object, once, text_of, write_json
from infimm_eval.scorers.choice import hear, read_llava
from infimm_eval.types import Record, Sample, Submission


def dictionary(
    filename: str,
    *,
    references: Callable[[Path], Iterator[Sample]] | None = None,
    grades: Callable[[Path], Mapping[str, Sequence[float]]] | None = None,
) -> Submission:
    """``{"v1_0": "text", ...}``: the free-form benchmarks."""

    def write(records: Sequence[Record], path: Path) -> None:
        write_json(path, {r.sample.id: r.text for r in records})

    def read(path: Path) -> Mapping[str, str]:
        answers = load_object(path, "ids to answers")
        return {key: text_of(value, path, key) for key, value in answers.items()}

    return Submission(
        filename=filename, write=write, read=read, references=references, grades=grades
    )


# -- MM-Vet --------------------------------------------------------------------------------------


def mmvet_questions(path: Path) -> Iterator[Sample]:
    """``mm-vet.json``: id to question, answer, capabilities."""
    for number, (key, row) in enumerate(load_object(path, "ids to questions").items()):
        yield Sample(
            id=key,
            question=(column(row, "question", path, number),),
            references=(column(row, "answer", path, number),),
            group=column(row, "imagename", path, number),
            tags={"capability": ",".join(column(row, "capability", path, number))},
        )


def core_mm_questions(path: Path) -> Iterator[Sample]:
    """``core-mm-wo-answer.json``: id to question, category, complexity."""
    for number, (key, row) in enumerate(load_object(path, "ids to questions").items()):
        yield Sample(
            id=key,
            question=(column(row, "Question", path, number),),
            group=column(row, "Image path", path, number)[0],
            tags={
                "category": column(row, "Category", path, number),
                "complexity": column(row, "Complexity", path, number),
            },
        )


def grades(path: Path) -> Mapping[str, Sequence[float]]:
    """``<model>_<judge>-grade-<n>runs.json``: id to the scores of each run, 0 to 1."""
    graded = load_object(path, "ids to grades")
    for key, row in graded.items():
        scores = row.get("score") if isinstance(row, dict) else None
        numbers = [isinstance(s, int | float) and 0 <= s <= 1 for s in scores or ()]
        if not isinstance(scores, list) or not scores or not all(numbers):
            raise UsageError(
                f"{path} has no grades of {key}; give the judge's file, with a list score of "
                "numbers from 0 to 1 for each id"
            )
    runs = {len(row["score"]) for row in graded.values()}
    if len(runs) > 1:
        raise UsageError(f"{path}: some answers have {min(runs)} grades, some {max(runs)}")
    return {key: [float(value) for value in row["score"]] for key, row in graded.items()}


# -- MMMU ----------------------------------------------------------------------------------------


def mmmu(filename: str) -> Submission:
    """``{"validation_Art_1": "B", ...}``: a letter, or text for an open question.

    Read also as the authors' per-subject folders, ``<Subject>/output.json``, which bring options
    and right answers with them.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        write_json(path, {r.sample.id: r.text.strip() for r in records})

    def read(path: Path) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if path.is_dir():
            for file, number, row in _mmmu_outputs(path):
                key = column(row, "id", file, number)
                said = column(row, "response", file, number)
                once(file, found, key, text_of(said, file, key))
            return found
        for key, value in load_object(path, "question ids to responses").items():
            once(path, found, key, text_of(value, path, key))
        return found

    return Submission(
        filename=filename, write=write, read=read, references=mmmu_answers, missing="wrong"
    )


def mmmu_answers(path: Path) -> Iterator[Sample]:
    """``answer_dict_val.json`` (id to type and right answer), or a folder of per-subject outputs.

    The dictionary does not hold the options: a choice then has the letters A to H, of which any
    may be said, and no answer is known by its option's text.
    """
    if path.is_dir():
        for file, number, row in _mmmu_outputs(path):
            texts = row.get("index2ans") or {}
            options = tuple((str(texts.get(k, "")),) for k in row.get("all_choices") or ())
            yield _mmmu_sample(row, "answer", column(row, "id", file, number), options, file)
        return
    for key, row in load_object(path, "question ids to answers").items():
        truth = str(column(row, "ground_truth", path, 0))
        letters = ascii_uppercase[: max(_MMMU_LETTERS, ascii_uppercase.find(truth) + 1)]
        choice = column(row, "question_type", path, 0) == "multiple-choice"
        options = tuple((f"({letter})",) for letter in letters) if choice else ()
        yield _mmmu_sample(row, "ground_truth", key, options, path)


_MMMU_LETTERS = 8
"""A ninth would make a letter of the word "I"."""


def _mmmu_outputs(folder: Path) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    files = sorted(folder.glob("*/output.json"))
    if not files:
        raise UsageError(f"{folder} holds no <Subject>/output.json")
    for file in files:
        for number, row in enumerate(entries(file, load_json(file))):
            yield file, number, row


def _mmmu_sample(
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


# -- ScienceQA -----------------------------------------------------------------------------------


def scienceqa(filename: str, *, pictures_only: bool) -> Submission:
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
        for sample in scienceqa_problems(path):
            if not pictures_only or sample.tags["modality"] == "IMG":
                yield sample

    return Submission(
        filename=filename, write=write, read=read, references=references, missing="wrong"
    )


def scienceqa_problems(path: Path) -> Iterator[Sample]:
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
