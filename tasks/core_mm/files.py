"""InfiMM-Eval's files: the questions, and the private reference answers where a person has them.

Columns: ``id``, ``images`` (a list), ``question``, ``category``, ``complexity`` (``Moderate`` or
``High``), and ``answer`` where it is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import (
    Line,
    Unique,
    find,
    listed,
    read_json,
    require,
    stream_object,
    text,
)
from infimm_eval.errors import UsageError
from infimm_eval.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMm:
    """``core-mm-wo-answer.json`` and the folder ``images``; reference answers, for those who have
    them, in ``core-mm-answers.json`` (``{id: answer}``).

    Han et al., "InfiMM-Eval", arXiv:2311.11567.
    """

    file: str = "core-mm-wo-answer.json"
    answers: str = "core-mm-answers.json"

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (self.file, "the pictures in images (folder or .zip)")

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        private = find(root, self.answers)
        return (require(root, self.file), *([private] if private else []))

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        path, *private = self.files(root)
        known = _answers(private[0]) if private else {}
        pictures = folder(root, "images", near=path)
        unique = Unique(path, "question")
        for number, (id, entry) in enumerate(stream_object(path)):
            unique(id)
            names = listed(entry, "Image path", path, number)
            if not names:
                raise UsageError(f"{path} record {number}: question {id} has no picture")
            row = {
                "id": id,
                "images": [pictures.image(name, number) for name in names],
                "question": text(entry, "Question", path, number),
                "category": text(entry, "Category", path, number),
                "complexity": text(entry, "Complexity", path, number),
            }
            cells = row | ({"answer": str(known[id])} if id in known else {})
            yield Line(cells, f"{path} record {number}")


def _answers(path: Path) -> Mapping[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise UsageError(f"{path} does not map ids to answers; is it the right file?")
    return found
