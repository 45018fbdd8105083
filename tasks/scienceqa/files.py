"""ScienceQA's files: ``problems.json`` with its splits, VLMEvalKit's TSV, and the hub's Parquet.

Columns: ``id``, ``image`` (or ``None``), ``question``, ``choices``, ``answer`` (an index),
``hint``, ``task``, ``grade``, ``subject``, ``topic``, ``category``, ``skill``, ``split``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

from infimm_eval.data import choices, tsv
from infimm_eval.data.hub_datasets import lmms_lab
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import Line, OneFile, Unique, column, listed, read_json, require, text
from infimm_eval.types import Hub, Row

_SCIENCE = ("hint", "task", "grade", "subject", "topic", "category", "skill")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceQa:
    """``problems.json``, ``pid_splits.json`` and the folder ``{split}/{id}/image.png``.

    Lu et al., "Learn to Explain", NeurIPS 2022.  Ids are strings of digits, in the split's order.
    """

    split: str

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        pictures = f"the pictures in images/{self.split} (folder or .zip)"
        return ("problems.json", "pid_splits.json", pictures)

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return (require(root, "problems.json"), require(root, "pid_splits.json"))

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        path, splits = self.files(root)
        problems = read_json(path)
        pictures = folder(root, self.split, near=path)
        unique = Unique(splits, "problem")
        for number, pid in enumerate(listed(read_json(splits), self.split, splits, 0)):
            problem = column(problems, pid, path, number)
            unique(pid)
            image = problem.get("image") if isinstance(problem, dict) else None
            where = f"{path}: problem {pid}"
            options = listed(problem, "choices", path, number)
            choices.letter_of(answer := column(problem, "answer", path, number), options, where)
            cells = {
                "id": pid,
                "image": None if image is None else pictures.image(f"{pid}/{image}", pid),
                "question": text(problem, "question", path, number),
                "choices": options,
                "answer": answer,
                "split": self.split,
                **{name: problem.get(name) or "" for name in _SCIENCE},
            }
            yield Line(cells, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceQaTsv(OneFile):
    """``ScienceQA_TEST.tsv`` of VLMEvalKit: the questions with a picture; ids are row indices."""

    split: str

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        for number, row in enumerate(tsv.rows(path, root)):
            where = choices.place(row, row["index"])
            options = choices.options(row, where)
            choices.require_letter(letter := column(row, "answer", path, number), options, where)
            cells = {
                "id": row["index"],
                "image": row["images"][0] if row["images"] else None,
                "question": column(row, "question", path, number),
                "choices": options,
                "answer": ascii_uppercase.index(letter),
                "split": self.split,
                **{name: row.get(name, "") for name in _SCIENCE},
            }
            yield Line(cells, where)


def _published(row: Row) -> Row:
    """The problem's id is left out, so a row is known by its number."""
    return {
        **row,
        "id": str(row["row"]),
        "choices": list(row["choices"]),
        "hint": row["hint"] or "",
    }


IMG = Hub(repos=lmms_lab("ScienceQA"), config="ScienceQA-IMG", split="test", convert=_published)
FULL = replace(IMG, config="ScienceQA-FULL")
