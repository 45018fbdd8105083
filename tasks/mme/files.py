"""MME: the official tree of sub-task folders, and VLMEvalKit's TSV of it.

Columns: ``question_id`` (``"color/000000001.jpg"``, the same for the two questions about a
picture), ``image``, ``question``, ``answer`` (``Yes`` or ``No``), ``category``.

Fu et al., "MME", arXiv:2306.13394.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infimm_eval.data import tsv
from infimm_eval.data.hub_datasets import lmms_lab
from infimm_eval.data.pictures import FileImage
from infimm_eval.data.reading import Line, OneFile, column, find, open_data, require
from infimm_eval.errors import UsageError, shown
from infimm_eval.types import Hub, Row

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
CATEGORIES = PERCEPTION + COGNITION

_TREE = "MME_Benchmark_release_version"
_PICTURES = (".jpg", ".png", ".jpeg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mme:
    """``MME_Benchmark_release_version/<sub-task>/``: texts and pictures side by side, or in
    ``questions_answers_YN/`` and ``images/``.  Two lines ``question TAB Yes|No`` a picture."""

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (f"{_TREE}/ with its {len(CATEGORIES)} sub-tasks",)

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        tree = self._tree(root)
        missing = [name for name in CATEGORIES if not (tree / name).is_dir()]
        if missing:
            raise FileNotFoundError(f"the sub-tasks {', '.join(missing)} of {tree.name}")
        return tuple(path for name in CATEGORIES for path in _texts(tree / name))

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        for path in self.files(root):
            category = next(part for part in reversed(path.parts[:-1]) if part in CATEGORIES)
            image = _picture(path, root)
            pairs = _pairs(path)
            for question, answer in pairs:
                cells = {
                    "question_id": f"{category}/{Path(image.relative).name}",
                    "image": image,
                    "question": question,
                    "answer": answer,
                    "category": category,
                }
                yield Line(cells, str(path))

    def _tree(self, root: Path) -> Path:
        return root if (root / CATEGORIES[0]).is_dir() else require(root, _TREE)


@dataclass(frozen=True, slots=True, kw_only=True)
class MmeTsv(OneFile):
    """``MME.tsv`` of VLMEvalKit; the two questions about a picture share ``image_path``."""

    file: str = "MME.tsv"

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        pictures = []
        for number, row in enumerate(tsv.rows(path, root)):
            if not row["images"]:
                raise UsageError(f"{path}: row {row['index']} has no picture")
            category = column(row, "category", path, number)
            pictures.append(f"{category}/{Path(column(row, 'image_path', path, number)).name}")
            cells = {
                "question_id": pictures[-1],
                "image": row["images"][0],
                "question": column(row, "question", path, number),
                "answer": column(row, "answer", path, number),
                "category": category,
            }
            yield Line(cells, f"{path} row {row['index']}")
        if lacking := unpaired(pictures):
            raise UsageError(f"{path}: {lacking}")


def require_truth(answer: object, where: str) -> None:
    """``UsageError`` where a right answer is neither yes nor no, in whatever case."""
    if not isinstance(answer, str) or answer.strip().lower() not in ("yes", "no"):
        raise UsageError(f"{where}: the right answer is {shown(answer)}; Yes or No is wanted")


def unpaired(pictures: Iterable[str]) -> str:
    """Why not every picture (one name a question) has its two questions, or ""."""
    for picture, count in Counter(pictures).items():
        if count != 2:
            questions = "1 question" if count == 1 else f"{count} questions"
            return f"{picture} has {questions} where a picture has two"
    return ""


def _texts(folder: Path) -> list[Path]:
    inside = folder / "questions_answers_YN"
    texts = sorted((inside if inside.is_dir() else folder).glob("*.txt"))
    if not texts:
        raise UsageError(f"{folder} has no question files (*.txt)")
    return texts


def _picture(text: Path, root: Path) -> FileImage:
    folder = text.parent
    if folder.name == "questions_answers_YN":
        folder = folder.parent / "images"
    for suffix in _PICTURES:
        picture = find(folder, text.stem + suffix) if folder.is_dir() else None
        if picture is not None:
            return FileImage(str(root), picture.relative_to(root).as_posix())
    raise UsageError(f"{text} asks about a picture that is not in {folder}")


def _pairs(path: Path) -> list[tuple[str, str]]:
    with open_data(path) as file:
        data = file.read()
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as odd:
        raise UsageError(f"{path} is not UTF-8 text ({odd})") from odd
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        question, tab, answer = line.rstrip("\r").partition("\t")
        if not tab or answer.strip() not in ("Yes", "No"):
            raise UsageError(f"{path} line {number} is not 'question TAB Yes' or 'question TAB No'")
        pairs.append((question, answer.strip()))
    if len(pairs) != 2:
        raise UsageError(f"{path} has {len(pairs)} questions where a picture has two")
    return pairs


TEST = Hub(repos=lmms_lab("MME"), split="test")
