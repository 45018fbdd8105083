"""Results as one JSON object from id to text, and a judge's grades of them.

Knows no benchmark and asks no judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from infimm_eval.errors import UsageError, named
from infimm_eval.submissions.files import load_object, text_of, write_json
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


def grades(path: Path) -> Mapping[str, Sequence[float]]:
    """``<model>_<judge>-grade-<n>runs.json``: id to the scores of each run, 0 to 1."""
    graded = load_object(path, "ids to grades")
    for key, row in graded.items():
        scores = row.get("score") if isinstance(row, dict) else None
        if not isinstance(scores, list) or not scores or not all(map(_is_grade, scores)):
            raise UsageError(
                f"{path} has no grades of {named(key)}; give the judge's file, with a list score "
                "of numbers from 0 to 1 for each id"
            )
    runs = {len(row["score"]) for row in graded.values()}
    if len(runs) > 1:
        raise UsageError(f"{path}: some answers have {min(runs)} grades, some {max(runs)}")
    return {key: [float(value) for value in row["score"]] for key, row in graded.items()}


def _is_grade(score: object) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1
