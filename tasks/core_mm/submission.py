"""InfiMM-Eval's questions as its authors publish them, for results that anybody wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infimm_eval.data.reading import listed, text
from infimm_eval.errors import UsageError
from infimm_eval.submissions.files import load_object
from infimm_eval.types import Sample


def questions(path: Path) -> Iterator[Sample]:
    """``core-mm-wo-answer.json``: id to question, category, complexity."""
    for number, (key, row) in enumerate(load_object(path, "ids to questions").items()):
        question = text(row, "Question", path, number)
        pictures = listed(row, "Image path", path, number)
        if not pictures or not isinstance(pictures[0], str):
            raise UsageError(f"{path} record {number}: question {key} names no picture")
        yield Sample(
            id=key,
            question=(question,),
            group=pictures[0],
            tags={
                "category": text(row, "Category", path, number),
                "complexity": text(row, "Complexity", path, number),
            },
        )
