"""MMBench's TSV and the hub's Parquet of it, with the rotations of each question among the rows.

Columns: ``index``, ``image``, ``question``, ``hint``, ``A``, ``B``, ... and ``answer`` (an empty
cell is left out), ``category``, ``l2-category``, ``split``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

from infimm_eval.data import choices, tsv
from infimm_eval.data.hub_datasets import lmms_lab
from infimm_eval.data.reading import Line, require
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub, Row

ROTATION = 1_000_000
"""MMBench: index = question + k x ROTATION for the k-th rotation of its options."""


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
        """What has to lie in the folder, for the message when it does not."""
        return (" or ".join(self.names),)

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return (require(root, *self.names),)

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        rotations: dict[int, int] = {}
        for row in tsv.rows(path, root):
            if row.setdefault("split", self.split) != self.split:
                continue
            images = row.pop("images")
            if not images:
                raise UsageError(f"{path}: row {row['index']} has no picture")
            where = choices.place(row, row["index"])
            index = integer(row["index"], path)
            rotations[index] = len(choices.options(row, where))
            yield Line({**row, "index": index, "image": images[0]}, where)
        if not rotations:
            raise UsageError(f"{path} has no row of the split {self.split!r}")
        if lacking := incomplete(rotations):
            raise UsageError(f"{path}: {lacking}; is the file complete?")


def incomplete(rotations: Mapping[int, int]) -> str:
    """Why not every question is there in all rotations of its options, or "": how many options
    each index has.  A question is asked as often as it has options."""
    held = Counter(index % ROTATION for index in rotations)
    for index, options in rotations.items():
        question = index % ROTATION
        if question not in rotations:
            return f"row {index} is a rotation of {question}, which is missing"
        if held[question] < options:
            return (
                f"question {question} has {held[question]} of its {options} rotations; circular "
                "needs all"
            )
    return ""


def base(index: str) -> str:
    """The question that a rotated copy belongs to."""
    return str(int(index) % ROTATION)


def integer(text: str, path: Path | str) -> int:
    """An index; spreadsheets make ``12.0`` of ``12``."""
    return tsv.whole_number(text, str(path))


def _published(row: Row) -> Row:
    """Missing options and hints are the string ``nan`` there; so is an option that reads "None",
    which is known by the one behind it."""
    renamed = {name.replace("L2-category", "l2-category"): cell for name, cell in row.items()}
    absent = (None, "", "nan")
    last = max((n for n in ascii_uppercase if renamed.get(n) not in absent), default="A")
    optional = {"hint", "answer", *(n for n in ascii_uppercase[2:] if n > last)}
    kept = {n: c for n, c in renamed.items() if n not in optional or c not in absent}
    return {**kept, "index": integer(str(row["index"]), "the hub's rows")}


DEV = Hub(repos=lmms_lab("MMBench"), config="en", split="dev", convert=_published)
TEST = replace(DEV, split="test")
