"""LLaVA's answers: JSON lines of ``question_id``, ``prompt``, ``text``, ``model_id``.

They hold no target and no score.  Files of chunks that were joined may overlap.  Knows no
benchmark, and so not whether ``question_id`` names a question or a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infimm_eval.data.reading import numbered_json_lines
from infimm_eval.errors import UsageError, shown
from infimm_eval.logs.foreign.values import ForeignLog, listed, mapping, options_in
from infimm_eval.types import ForeignRecord

TOOL = "LLaVA"


def answers(path: Path) -> ForeignLog:
    """A file of answers, or several joined.  Only the first line's model is looked at."""
    _, first = next(numbered_json_lines(path), (0, {}))
    model = mapping(first).get("model_id")
    return ForeignLog(
        tool=TOOL,
        path=path,
        records=lambda: (("", record) for record in _records(path)),
        names=(path.stem, path.parent.name, path.parent.parent.name),
        model=str(model or ""),
    )


def _records(path: Path) -> Iterator[ForeignRecord]:
    for line, row in numbered_json_lines(path):
        place = f"{path} line {line}"
        known = isinstance(row, dict) and isinstance(row.get("question_id"), str | int)
        if not known or not isinstance(row.get("text"), str):
            raise UsageError(
                f"{place} is {shown(row)}; an object with question_id and text is wanted"
            )
        prompt = str(row.get("prompt") or "")
        options = tuple(map(str, listed(row.get("options"))))
        yield ForeignRecord(
            place=place,
            id=str(row["question_id"]),
            prompt=prompt,
            options=options or options_in(prompt),
            text=row["text"],
            fields=row,
        )
