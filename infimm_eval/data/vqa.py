"""Visual question answering as its authors publish it: VQAv2, OK-VQA, TextVQA, VizWiz.

Columns: ``image``, ``image_id``, ``question_id``, ``question``, ``answers`` (ten strings, one an
annotator, in their order; ``None`` where the split's answers are withheld), ``question_type``,
``answer_type``; OK-VQA adds ``raw_answers``, TextVQA ``ocr_tokens``, VizWiz ``answerable``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import OneFileAndPictures, Unique, column, require, stream
from infimm_eval.errors import UsageError
from infimm_eval.types import Row

ANNOTATORS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class VqaFiles:
    """A questions file and an annotations file in the layout of visualqa.org.

    Goyal et al., "Making the V in VQA Matter", CVPR 2017; OK-VQA uses the same layout.
    """

    questions: str
    annotations: str | None
    """``None``: a test split, whose answers are withheld."""
    images: str
    """Where a picture lies, as a format of ``image_id``: ``"val2014/COCO_val2014_{:012d}.jpg"``."""

    @property
    def expects(self) -> tuple[str, ...]:
        place = self.images.partition("/")[0]
        named = tuple(name for name in (self.questions, self.annotations) if name)
        return (*named, f"the pictures in {place} (folder or .zip)")

    def files(self, root: Path) -> tuple[Path, ...]:
        return tuple(require(root, name) for name in (self.questions, self.annotations) if name)

    def rows(self, root: Path) -> Iterator[Row]:
        path, *rest = self.files(root)
        answered = _Annotations(rest[0]) if rest else None
        place, _, template = self.images.partition("/")
        pictures = folder(root, place, near=path)
        unique = Unique(path, "question")
        for number, asked in enumerate(stream(path, "questions")):
            question_id = column(asked, "question_id", path, number)
            image_id = column(asked, "image_id", path, number)
            unique(question_id)
            row: Row = {
                "image": pictures.image(template.format(image_id)),
                "image_id": image_id,
                "question_id": question_id,
                "question": column(asked, "question", path, number),
            }
            yield {**row, **(answered.take(question_id) if answered else _WITHHELD)}
        if answered:
            answered.finish(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVqa:
    """``TextVQA_0.5.1_{train,val,test}.json``; val's pictures lie in ``train_images``.

    Singh et al., "Towards VQA Models That Can Read", CVPR 2019.
    """

    file: str
    images: str = "train_images"

    @property
    def expects(self) -> tuple[str, ...]:
        return (self.file, f"the pictures in {self.images} (folder or {self._archive})")

    def files(self, root: Path) -> tuple[Path, ...]:
        return (require(root, self.file),)

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path, archive=self._archive)
        unique = Unique(path, "question")
        for number, entry in enumerate(stream(path, "data")):
            question_id = column(entry, "question_id", path, number)
            unique(question_id)
            image_id = column(entry, "image_id", path, number)
            answers = entry.get("answers")
            yield {
                "image": pictures.image(f"{image_id}.jpg"),
                "image_id": image_id,
                "question_id": question_id,
                "question": column(entry, "question", path, number),
                "answers": None if answers is None else ten(answers, path, question_id),
                "question_type": None,
                "answer_type": None,
                "ocr_tokens": entry.get("ocr_tokens", []),
            }

    @property
    def _archive(self) -> str:
        return "train_val_images.zip" if self.images == "train_images" else f"{self.images}.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class VizWiz(OneFileAndPictures):
    """``{train,val,test}.json`` of VizWiz-VQA: a bare array; a question is known by its picture.

    Gurari et al., "VizWiz Grand Challenge", CVPR 2018.  Its answers carry no ``answer_id``: an
    annotator is a position.
    """

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path)
        unique = Unique(path, "picture")
        for number, entry in enumerate(stream(path)):
            filename = column(entry, "image", path, number)
            unique(filename)
            people = entry.get("answers")
            answers = None if people is None else [p["answer"] for p in people]
            yield {
                "image": pictures.image(filename),
                "image_id": filename,
                "question_id": filename,
                "question": column(entry, "question", path, number),
                "answers": None if answers is None else ten(answers, path, filename),
                "question_type": None,
                "answer_type": entry.get("answer_type"),
                "answerable": entry.get("answerable"),
            }


_WITHHELD: Mapping[str, Any] = {"answers": None, "question_type": None, "answer_type": None}


class _Annotations:
    """The annotations file, read in step with the questions.

    The two files of a split are in the same order, so that nothing is kept; where an edited copy
    is not, what was passed over waits for its question.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._coming = enumerate(stream(path, "annotations"))
        self._waiting: dict[Any, Mapping[str, Any]] = {}

    def take(self, question_id: Any) -> Mapping[str, Any]:
        while question_id not in self._waiting:
            try:
                number, entry = next(self._coming)
            except StopIteration:
                raise UsageError(f"{self._path} has no answers to question {question_id}") from None
            known = column(entry, "question_id", self._path, number)
            if known in self._waiting:
                raise UsageError(f"{self._path}: annotation of question {known} occurs twice")
            self._waiting[known] = self._columns(entry, number)
        return self._waiting.pop(question_id)

    def finish(self, questions: Path) -> None:
        left = next(iter(self._waiting), None)
        if left is None:
            for _, entry in self._coming:
                left = entry["question_id"]
                break
        if left is not None:
            raise UsageError(
                f"{questions} lacks question {left}, which {self._path.name} answers (or it is "
                "answered there twice)"
            )

    def _columns(self, entry: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        people = column(entry, "answers", self._path, number)
        answers = [column(person, "answer", self._path, number) for person in people]
        columns = {
            "answers": ten(answers, self._path, entry["question_id"]),
            "question_type": entry.get("question_type"),
            "answer_type": entry.get("answer_type"),
        }
        if "raw_answer" in people[0]:
            columns["raw_answers"] = [person["raw_answer"] for person in people]
        return columns


def ten(answers: list[str], path: Path | str, question_id: Any) -> list[str]:
    """The answers, where each of the ten annotators gave one; else ``UsageError``."""
    if len(answers) != ANNOTATORS:
        raise UsageError(
            f"{path}: question {question_id} has {len(answers)} answers where {ANNOTATORS} "
            "annotators answered; is it the original file?"
        )
    return answers
