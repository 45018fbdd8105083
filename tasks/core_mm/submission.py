"""InfiMM-Eval's questions as its authors publish them, for results that anybody wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infimm_eval.data.reading import column
from infimm_eval.submissions.files import load_object
from infimm_eval.types import Sample


def questions(path: Path) -> Iterator[Sample]:
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
