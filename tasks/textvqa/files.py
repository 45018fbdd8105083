"""TextVQA's files: questions, answers and OCR tokens in one JSON file a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from infimm_eval.data.hub_datasets import lmms_lab, vqa_row
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import Line, Unique, identifier, listed, require, stream, text
from infimm_eval.data.vqa import ten
from infimm_eval.types import Hub, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVqa:
    """``TextVQA_0.5.1_{train,val,test}.json``; val's pictures lie in ``train_images``.

    Singh et al., "Towards VQA Models That Can Read", CVPR 2019.
    """

    file: str
    images: str = "train_images"

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (self.file, f"the pictures in {self.images} (folder or {self._archive})")

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return (require(root, self.file),)

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path, archive=self._archive)
        unique = Unique(path, "question")
        for number, entry in enumerate(stream(path, "data")):
            question_id = identifier(entry, "question_id", path, number)
            unique(question_id)
            image_id = identifier(entry, "image_id", path, number)
            known = entry.get("answers") is not None
            answers = listed(entry, "answers", path, number) if known else []
            ocr = listed(entry, "ocr_tokens", path, number) if "ocr_tokens" in entry else []
            cells = {
                "image": pictures.image(f"{image_id}.jpg", number),
                "image_id": image_id,
                "question_id": question_id,
                "question": text(entry, "question", path, number),
                "answers": ten(answers, path, question_id) if known else None,
                "question_type": None,
                "answer_type": None,
                "ocr_tokens": ocr,
            }
            yield Line(cells, f"{path} record {number}")

    @property
    def _archive(self) -> str:
        return "train_val_images.zip" if self.images == "train_images" else f"{self.images}.zip"


VAL = Hub(repos=lmms_lab("textvqa"), split="validation", convert=vqa_row)
TRAIN = replace(VAL, split="train")
TEST = replace(VAL, split="test")
