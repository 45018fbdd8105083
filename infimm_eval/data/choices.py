"""Multiple-choice sets as their authors publish them: ScienceQA, MMBench, MMMU.

Columns of ScienceQA: ``id``, ``image`` (or ``None``), ``question``, ``choices``, ``answer`` (an
index), ``hint``, ``task``, ``grade``, ``subject``, ``topic``, ``category``, ``skill``, ``split``.
MMBench: ``index``, ``image``, ``question``, ``hint``, ``A``, ``B``, ... and ``answer`` (an empty
cell is left out), ``category``, ``l2-category``, ``split``.  MMMU: see ``mmmu_row``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data import parquet, tsv
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import OneFile, Unique, column, read_json, require
from infimm_eval.errors import UsageError
from infimm_eval.types import Row

LETTERS = "ABCDEFGHI"
ROTATION = 1_000_000
"""MMBench: index = question + k x ROTATION for the k-th rotation of its options."""
MMMU_IMAGES = 7

_SCIENCE = ("hint", "task", "grade", "subject", "topic", "category", "skill")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceQa:
    """``problems.json``, ``pid_splits.json`` and the folder ``{split}/{id}/image.png``.

    Lu et al., "Learn to Explain", NeurIPS 2022.  Ids are strings of digits, in the split's order.
    """

    split: str

    @property
    def expects(self) -> tuple[str, ...]:
        pictures = f"the pictures in images/{self.split} (folder or .zip)"
        return ("problems.json", "pid_splits.json", pictures)

    def files(self, root: Path) -> tuple[Path, ...]:
        return (require(root, "problems.json"), require(root, "pid_splits.json"))

    def rows(self, root: Path) -> Iterator[Row]:
        path, splits = self.files(root)
        problems = read_json(path)
        pictures = folder(root, self.split, near=path)
        unique = Unique(splits, "problem")
        for number, pid in enumerate(column(read_json(splits), self.split, splits, 0)):
            unique(pid)
            problem = column(problems, pid, path, number)
            choices = column(problem, "choices", path, number)
            answer = column(problem, "answer", path, number)
            if not 0 <= answer < len(choices):
                raise UsageError(f"{path}: problem {pid} has no choice number {answer}")
            image = problem.get("image")
            yield {
                "id": pid,
                "image": None if image is None else pictures.image(f"{pid}/{image}"),
                "question": column(problem, "question", path, number),
                "choices": choices,
                "answer": answer,
                "split": self.split,
                **{name: problem.get(name) or "" for name in _SCIENCE},
            }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceQaTsv(OneFile):
    """``ScienceQA_TEST.tsv`` of VLMEvalKit: the questions with a picture; ids are row indices."""

    split: str

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        for number, row in enumerate(tsv.rows(path, root)):
            choices = [row[letter] for letter in LETTERS if letter in row]
            letter = column(row, "answer", path, number)
            if letter not in LETTERS[: len(choices)]:
                raise UsageError(f"{path}: row {row['index']} has no choice {letter!r}")
            yield {
                "id": row["index"],
                "image": row["images"][0] if row["images"] else None,
                "question": column(row, "question", path, number),
                "choices": choices,
                "answer": LETTERS.index(letter),
                "split": self.split,
                **{name: row.get(name, "") for name in _SCIENCE},
            }


@dataclass(frozen=True, slots=True, kw_only=True)
class MmBench:
    """A TSV of MMBench, with its pictures inside or by reference, the rotations among the rows.

    Liu et al., "MMBench", ECCV 2024.
    """

    names: tuple[str, ...]
    """What the file is called, the current release first."""
    split: str
    """Rows of another split in the same file are left out."""

    @property
    def expects(self) -> tuple[str, ...]:
        return (" or ".join(self.names),)

    def files(self, root: Path) -> tuple[Path, ...]:
        return (require(root, *self.names),)

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        indices: set[int] = set()
        for row in tsv.rows(path, root):
            if row.setdefault("split", self.split) != self.split:
                continue
            images = row.pop("images")
            if not images:
                raise UsageError(f"{path}: row {row['index']} has no picture")
            index = integer(row["index"], path)
            indices.add(index)
            yield {**row, "index": index, "image": images[0]}
        if not indices:
            raise UsageError(f"{path} has no row of the split {self.split!r}")
        for index in sorted(indices):
            if index % ROTATION not in indices:
                raise UsageError(
                    f"{path}: row {index} is a rotation of {index % ROTATION}, which is missing; "
                    "is the file complete?"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmmu:
    """The Parquet files of MMMU, a folder a subject: ``Accounting/validation-*.parquet``.

    Yue et al., "MMMU", CVPR 2024.
    """

    split: str

    @property
    def expects(self) -> tuple[str, ...]:
        return (f"MMMU/<subject>/{self.split}-*.parquet for the 30 subjects",)

    def files(self, root: Path) -> tuple[Path, ...]:
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
        paths = self.files(root)
        unique = Unique(paths[0].parent.parent, "question")
        for path in paths:
            for number, row in enumerate(parquet.read([path], root)):
                unique(column(row, "id", path, number))
                yield mmmu_row(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class MmmuTsv(OneFile):
    """``MMMU_DEV_VAL.tsv`` or ``MMMU_TEST.tsv`` of VLMEvalKit: picture k is ``<image k>``."""

    split: str

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        found = False
        for number, row in enumerate(tsv.rows(path, root)):
            if row.get("split", self.split) != self.split:
                continue
            found = True
            options = [row[letter] for letter in LETTERS if letter in row]
            images = row["images"]
            answer = row.get("answer")
            yield {
                "id": column(row, "id", path, number),
                "question": column(row, "question", path, number),
                "options": options,
                **{f"image_{k}": None for k in range(1, MMMU_IMAGES + 1)},
                **{f"image_{k}": image for k, image in enumerate(images, 1)},
                "answer": answer if options or answer is None else literal(answer),
                "question_type": "multiple-choice" if options else "open",
                "subfield": row.get("subfield", ""),
                "subject": subject(row["id"]),
                "split": self.split,
            }
        if not found:
            raise UsageError(f"{path} has no row of the split {self.split!r}")


def mmmu_row(row: Row) -> Row:
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
        **{f"image_{k}": row.get(f"image_{k}") for k in range(1, MMMU_IMAGES + 1)},
        "answer": answer,
        "question_type": row["question_type"],
        "subfield": row.get("subfield") or "",
        "subject": subject(row["id"]),
        "split": row["id"].partition("_")[0],
    }


def subject(id: str) -> str:
    """``validation_Art_Theory_12`` is about ``Art_Theory``."""
    found = re.fullmatch(r"[a-z]+_(\w+)_\d+", id)
    if found is None or found[1] not in SUBJECTS:
        raise UsageError(f"{id!r} is not the id of an MMMU question (validation_Accounting_1)")
    return found[1]


def literal(text: Any) -> Any:
    """A cell that holds a Python list, written as text; any other text is itself."""
    if not isinstance(text, str) or not text.startswith("["):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return [str(item) for item in value]


def integer(text: str, path: Path | str) -> int:
    """An index; spreadsheets make ``12.0`` of ``12``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0 or value != int(value):
        raise UsageError(f"{path}: index {text!r} is not a whole number")
    return int(value)


DISCIPLINES: Mapping[str, tuple[str, ...]] = {
    "Art & Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health & Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities & Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech & Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
"""MMMU's disciplines and their 30 subjects."""

SUBJECTS: Mapping[str, str] = {
    subject: discipline for discipline, subjects in DISCIPLINES.items() for subject in subjects
}
"""The discipline of each subject."""
