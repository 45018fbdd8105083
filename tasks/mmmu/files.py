"""MMMU's files: a folder of Parquet a subject, VLMEvalKit's TSVs, and the hub's Parquet.

Columns: see ``published_row``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data import choices, parquet, tsv
from infimm_eval.data.hub_datasets import lmms_lab
from infimm_eval.data.reading import Line, OneFile, Unique, column
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub, Row

from .subjects import SUBJECTS, subject

_IMAGES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmmu:
    """The Parquet files of MMMU, a folder a subject: ``Accounting/validation-*.parquet``.

    Yue et al., "MMMU", CVPR 2024.
    """

    split: str

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (f"MMMU/<subject>/{self.split}-*.parquet for the 30 subjects",)

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        for base in (root / "MMMU", root):
            found = sorted(base.glob(f"*/{self.split}-*-of-*.parquet"))
            subjects = [path for path in found if path.parent.name in SUBJECTS]
            if subjects:
                missing = SUBJECTS.keys() - {path.parent.name for path in subjects}
                if missing:
                    raise FileNotFoundError(f"the subjects {', '.join(sorted(missing))} of {base}")
                return tuple(subjects)
        raise FileNotFoundError(*self.expects)

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        paths = self.files(root)
        unique = Unique(paths[0].parent.parent, "question")
        for path in paths:
            rows = parquet.read([path], root)
            for row in parquet.converted(rows, published_row, str(path), "MMMU"):
                unique(row["id"])
                yield row


@dataclass(frozen=True, slots=True, kw_only=True)
class MmmuTsv(OneFile):
    """``MMMU_DEV_VAL.tsv`` or ``MMMU_TEST.tsv`` of VLMEvalKit: picture k is ``<image k>``."""

    split: str

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        found = False
        for number, row in enumerate(tsv.rows(path, root)):
            if row.get("split", self.split) != self.split:
                continue
            found = True
            options = choices.options(row, choices.place(row, row["index"]))
            images = row["images"]
            answer = row.get("answer")
            cells = {
                "id": column(row, "id", path, number),
                "question": column(row, "question", path, number),
                "options": options,
                **{f"image_{k}": None for k in range(1, _IMAGES + 1)},
                **{f"image_{k}": image for k, image in enumerate(images, 1)},
                "answer": answer if options or answer is None else literal(answer),
                "question_type": "multiple-choice" if options else "open",
                "subfield": row.get("subfield", ""),
                "subject": subject(row["id"]),
                "split": self.split,
            }
            yield Line(cells, choices.place(row, row["index"]))
        if not found:
            raise UsageError(f"{path} has no row of the split {self.split!r}")


def published_row(row: Row) -> Row:
    """A published row of MMMU as ``id``, ``question`` (with ``<image k>``), ``options``,
    ``image_1`` to ``image_7``, ``answer`` (a letter, a string, a list of strings; ``None`` where it
    is withheld), ``question_type``, ``subfield``, ``subject``, ``split``."""
    options = literal(row["options"])
    answer = row["answer"]
    if answer in ("?", "", None):
        answer = None
    elif row["question_type"] == "open":
        answer = literal(answer)
    return {
        "id": row["id"],
        "question": row["question"],
        "options": options,
        **{f"image_{k}": row.get(f"image_{k}") for k in range(1, _IMAGES + 1)},
        "answer": answer,
        "question_type": row["question_type"],
        "subfield": row.get("subfield") or "",
        "subject": subject(row["id"]),
        "split": row["id"].partition("_")[0],
    }


def literal(text: Any) -> Any:
    """A cell that holds a Python list, written as text; any other text is itself."""
    if not isinstance(text, str) or not text.startswith("["):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    return [str(item) for item in value]


VALIDATION = Hub(repos=lmms_lab("MMMU"), split="validation", convert=published_row)
