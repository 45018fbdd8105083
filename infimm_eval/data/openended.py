"""Judged sets as their authors publish them: MM-Vet and Core-MM (InfiMM-Eval).

Columns of MM-Vet: ``question_id``, ``image``, ``question``, ``answer``, ``capability`` (a list).
Core-MM: ``id``, ``images`` (a list), ``question``, ``category``, ``complexity`` (``Moderate`` or
``High``), and ``answer`` where a person has been given the private reference answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data import tsv
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import (
    OneFile,
    Unique,
    column,
    find,
    read_json,
    require,
    stream_object,
)
from infimm_eval.errors import UsageError
from infimm_eval.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class MmVet:
    """``mm-vet.json`` and the folder ``images``.  Yu et al., "MM-Vet", ICML 2024."""

    file: str = "mm-vet.json"

    @property
    def expects(self) -> tuple[str, ...]:
        return (self.file, "the pictures in images (folder or .zip)")

    def files(self, root: Path) -> tuple[Path, ...]:
        return (require(root, self.file),)

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        pictures = folder(root, "images", near=path)
        unique = Unique(path, "question")
        for number, (id, entry) in enumerate(stream_object(path)):
            unique(id)
            yield {
                "question_id": id,
                "image": pictures.image(column(entry, "imagename", path, number)),
                "question": column(entry, "question", path, number),
                "answer": column(entry, "answer", path, number),
                "capability": column(entry, "capability", path, number),
            }


@dataclass(frozen=True, slots=True, kw_only=True)
class MmVetTsv(OneFile):
    """``MMVet.tsv`` of VLMEvalKit; a bare index stands for the official id."""

    file: str = "MMVet.tsv"

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        for number, row in enumerate(tsv.rows(path, root)):
            if not row["images"]:
                raise UsageError(f"{path}: row {row['index']} has no picture")
            index = row["index"]
            yield {
                "question_id": f"v1_{index}" if index.isdigit() else index,
                "image": row["images"][0],
                "question": column(row, "question", path, number),
                "answer": column(row, "answer", path, number),
                "capability": capabilities(column(row, "capability", path, number)),
            }


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
        return (self.file, "the pictures in images (folder or .zip)")

    def files(self, root: Path) -> tuple[Path, ...]:
        private = find(root, self.answers)
        return (require(root, self.file), *([private] if private else []))

    def rows(self, root: Path) -> Iterator[Row]:
        path, *private = self.files(root)
        known: Mapping[str, Any] = read_json(private[0]) if private else {}
        pictures = folder(root, "images", near=path)
        unique = Unique(path, "question")
        for number, (id, entry) in enumerate(stream_object(path)):
            unique(id)
            names = column(entry, "Image path", path, number)
            row = {
                "id": id,
                "images": [pictures.image(name) for name in names],
                "question": column(entry, "Question", path, number),
                "category": column(entry, "Category", path, number),
                "complexity": column(entry, "Complexity", path, number),
            }
            yield row | ({"answer": str(known[id])} if id in known else {})


def capabilities(text: str | list[str]) -> list[str]:
    """``"rec,ocr"`` as a list; a list stays one."""
    return text.split(",") if isinstance(text, str) else text
