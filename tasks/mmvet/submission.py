"""MM-Vet's questions as its authors publish them, for results that anybody wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infimm_eval.data.reading import listed, text
from infimm_eval.submissions.files import load_object
from infimm_eval.types import Sample


def questions(path: Path) -> Iterator[Sample]:
    """``mm-vet.json``: id to question, answer, capabilities."""
    for number, (key, row) in enumerate(load_object(path, "ids to questions").items()):
        yield Sample(
            id=key,
            question=(text(row, "question", path, number),),
            references=(text(row, "answer", path, number),),
            group=text(row, "imagename", path, number),
            tags={"capability": ",".join(map(str, listed(row, "capability", path, number)))},
        )
