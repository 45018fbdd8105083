"""MM-Vet's files: ``mm-vet.json``, VLMEvalKit's TSV, and the hub's Parquet.

Columns: ``question_id``, ``image``, ``question``, ``answer``, ``capability`` (a list).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimm_eval.data import tsv
from infimm_eval.data.hub_datasets import lmms_lab
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import (
    Line,
    OneFile,
    Unique,
    column,
    listed,
    require,
    stream_object,
    text,
)
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class MmVet:
    """``mm-vet.json`` and the folder ``images``.  Yu et al., "MM-Vet", ICML 2024."""

    file: str = "mm-vet.json"

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (self.file, "the pictures in images (folder or .zip)")

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return (require(root, self.file),)

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        pictures = folder(root, "images", near=path)
        unique = Unique(path, "question")
        for number, (id, entry) in enumerate(stream_object(path)):
            unique(id)
            cells = {
                "question_id": id,
                "image": pictures.image(text(entry, "imagename", path, number), number),
                "question": text(entry, "question", path, number),
                "answer": text(entry, "answer", path, number),
                "capability": listed(entry, "capability", path, number),
            }
            yield Line(cells, f"{path} record {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MmVetTsv(OneFile):
    """``MMVet.tsv`` of VLMEvalKit; a bare index stands for the official id."""

    file: str = "MMVet.tsv"

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        for number, row in enumerate(tsv.rows(path, root)):
            if not row["images"]:
                raise UsageError(f"{path}: row {row['index']} has no picture")
            index = row["index"]
            cells = {
                "question_id": f"v1_{index}" if index.isdigit() else index,
                "image": row["images"][0],
                "question": column(row, "question", path, number),
                "answer": column(row, "answer", path, number),
                "capability": capabilities(column(row, "capability", path, number)),
            }
            yield Line(cells, f"{path} row {index}")


def capabilities(text: str | list[str]) -> list[str]:
    """``"rec,ocr"`` as a list; a list stays one."""
    return text.split(",") if isinstance(text, str) else text


def _published(row: Row) -> Row:
    return {**row, "capability": capabilities(row["capability"])}


TEST = Hub(repos=lmms_lab("MMVet"), split="test", convert=_published)
