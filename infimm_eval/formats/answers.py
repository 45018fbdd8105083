"""Results as one JSON object from id to answer: MMMU, MM-Vet, InfiMM-Eval, ScienceQA."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.choices import SUBJECTS
from infimm_eval.errors import UsageError
from infimm_eval.formats.files import load_json, load_object, once, text_of, write_json
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
    for key, row in load_object(path, "ids to questions").items():
        yield Sample(
            id=key,
            question=(row["question"],),
            references=(row["answer"],),
            group=row["imagename"],
            tags={"capability": ",".join(row["capability"])},
        )


def mmvet_grades(path: Path) -> Mapping[str, Sequence[float]]:
    """``<model>_<judge>-grade-<n>runs.json``: id to the scores of each run, 0 to 1."""
    graded = load_object(path, "ids to grades")
    if not all(isinstance(row, dict) and row.get("score") for row in graded.values()):
        raise UsageError(f"{path} has no grades; give the judge's file with a score list an id")
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
            for file, row in _mmmu_outputs(path):
                once(file, found, row["id"], text_of(row["response"], file, row["id"]))
            return found
        for key, value in load_object(path, "question ids to responses").items():
            once(path, found, key, text_of(value, path, key))
        return found

    return Submission(
        filename=filename, write=write, read=read, references=mmmu_answers, missing="wrong"
    )


def mmmu_answers(path: Path) -> Iterator[Sample]:
    """``answer_dict_val.json`` (id to type and right answer), or a folder of per-subject outputs.

    The dictionary does not hold the options: a choice then has the four usual letters, and only
    letters can be read from a response.
    """
    if path.is_dir():
        for _, row in _mmmu_outputs(path):
            options = tuple((str(row["index2ans"][k]),) for k in row.get("all_choices") or ())
            yield _mmmu_sample(row["id"], row["answer"], options, row["question_type"])
        return
    for key, row in load_object(path, "question ids to answers").items():
        letters = ascii_uppercase[: max(4, ascii_uppercase.find(str(row["ground_truth"])) + 1)]
        choice = row["question_type"] == "multiple-choice"
        options = tuple((f"({letter})",) for letter in letters) if choice else ()
        yield _mmmu_sample(key, row["ground_truth"], options, row["question_type"])


def _mmmu_outputs(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    files = sorted(folder.glob("*/output.json"))
    if not files:
        raise UsageError(f"{folder} holds no <Subject>/output.json")
    for file in files:
        for row in load_json(file):
            yield file, row


def _mmmu_sample(
    key: str, truth: object, options: tuple[tuple[str], ...], question_type: str
) -> Sample:
    answers = tuple(map(str, truth)) if isinstance(truth, list) else (str(truth),)
    subject = key.split("_", 1)[1].rsplit("_", 1)[0]
    return Sample(
        id=key,
        references=answers,
        options=options,
        tags={
            "subject": subject,
            "question_type": question_type,
            "discipline": SUBJECTS.get(subject, "other"),
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
        write_json(path, {"results": indices, "outputs": {r.sample.id: r.text for r in records}})

    def read(path: Path) -> Mapping[str, str]:
        body = load_object(path, "results to option numbers")
        if "correct" in body and "incorrect" in body and isinstance(body["correct"], list):
            rows = [*body["correct"], *body["incorrect"]]
            return {str(row["question_id"]): row["pred"] for row in rows}
        if outputs := body.get("outputs"):
            return {key: str(value) for key, value in outputs.items()}
        if "results" not in body:
            raise UsageError(f"{path} has neither results nor outputs")
        numbers = {key: int(value) for key, value in body["results"].items()}
        return {key: ascii_uppercase[n] if n >= 0 else "" for key, n in numbers.items()}

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
                id=str(row["question_id"]),
                references=(row["ground_truth"],),
                options=tuple(("",) for _ in "ABCDE"),
                tags={"modality": "IMG" if row.get("is_multimodal") else "TXT"},
            )
        return
    for key, row in body.items():
        if not isinstance(row, dict) or "choices" not in row:
            raise UsageError(f"{path} is neither problems.json nor a list of outputs")
        if row.get("split", "test") == "test":
            yield Sample(
                id=key,
                references=(ascii_uppercase[row["answer"]],),
                options=tuple((choice,) for choice in row["choices"]),
                tags={k: str(row[k]) for k in ("subject", "topic", "grade") if row.get(k)}
                | {"modality": "IMG" if row.get("image") else "TXT"},
            )


def _index(record: Record) -> int:
    from infimm_eval.scorers.choice import options_of, read_llava

    letter = read_llava(record.text, options_of(record.sample))
    return ascii_uppercase.find(letter) if letter else -1
