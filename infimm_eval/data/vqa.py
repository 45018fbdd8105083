"""Visual question answering in the layout of visualqa.org: VQAv2 and OK-VQA.

Columns of the whole family: ``image``, ``image_id``, ``question_id``, ``question``, ``answers``
(ten strings, one an annotator, in their order; ``None`` where the split's answers are withheld),
``question_type``, ``answer_type``; OK-VQA adds ``raw_answers``, TextVQA ``ocr_tokens``, VizWiz
``answerable``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import Line, Unique, column, identifier, listed, require, stream, text
from infimm_eval.errors import UsageError, shown
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
        """What has to lie in the folder, for the message when it does not."""
        place = self.images.partition("/")[0]
        named = tuple(name for name in (self.questions, self.annotations) if name)
        return (*named, f"the pictures in {place} (folder or .zip)")

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return tuple(require(root, name) for name in (self.questions, self.annotations) if name)

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        path, *rest = self.files(root)
        answered = _Annotations(rest[0]) if rest else None
        place, _, template = self.images.partition("/")
        pictures = folder(root, place, near=path)
        unique = Unique(path, "question")
        for number, asked in enumerate(stream(path, "questions")):
            question_id = identifier(asked, "question_id", path, number)
            image_id = _number(asked, "image_id", path, number)
            unique(question_id)
            row: Row = {
                "image": pictures.image(template.format(image_id), number),
                "image_id": image_id,
                "question_id": question_id,
                "question": text(asked, "question", path, number),
            }
            told = answered.take(question_id) if answered else _WITHHELD
            yield Line({**row, **told}, f"{path} record {number}")
        if answered:
            answered.finish(path)


def _number(record: Any, name: str, path: Path, number: int) -> int:
    """The number that a picture's file is called by."""
    value = identifier(record, name, path, number)
    if not isinstance(value, int):
        raise UsageError(
            f"{path} record {number}: {name} is {shown(value)}; a whole number is wanted, as "
            "COCO's pictures have"
        )
    return value


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
            known = identifier(entry, "question_id", self._path, number)
            if known in self._waiting:
                raise UsageError(f"{self._path}: annotation of question {known} occurs twice")
            self._waiting[known] = self._columns(entry, number)
        return self._waiting.pop(question_id)

    def finish(self, questions: Path) -> None:
        left = next(iter(self._waiting), None)
        if left is None:
            for _, entry in self._coming:
                left = column(entry, "question_id", self._path, 0)
                break
        if left is not None:
            raise UsageError(
                f"{questions} lacks question {left}, which {self._path.name} answers (or it is "
                "answered there twice)"
            )

    def _columns(self, entry: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        people = listed(entry, "answers", self._path, number)
        answers = [text(person, "answer", self._path, number) for person in people]
        columns = {
            "answers": ten(answers, self._path, entry["question_id"]),
            "question_type": entry.get("question_type"),
            "answer_type": entry.get("answer_type"),
        }
        if "raw_answer" in people[0]:
            columns["raw_answers"] = [
                text(person, "raw_answer", self._path, number) for person in people
            ]
        return columns


def ten(answers: list[str], path: Path | str, question_id: Any) -> list[str]:
    """The answers, where each of the ten annotators gave one text; else ``UsageError``.

    Accuracy leaves one person out and asks whether three others agree: of one answer it makes 0.
    """
    if len(answers) != ANNOTATORS:
        raise UsageError(
            f"{path}: question {question_id} has {len(answers)} answers where {ANNOTATORS} "
            "annotators answered; is it the original file?"
        )
    for answer in answers:
        if not isinstance(answer, str):
            raise UsageError(
                f"{path}: an answer to question {question_id} is {shown(answer)}; a text is wanted"
            )
    return answers
