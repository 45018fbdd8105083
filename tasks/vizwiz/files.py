"""VizWiz-VQA's files: a bare array of questions, each known by its picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimm_eval.data.hub_datasets import lmms_lab, vqa_row
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import Line, OneFileAndPictures, Unique, listed, stream, text
from infimm_eval.data.vqa import ten
from infimm_eval.types import Hub, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class VizWiz(OneFileAndPictures):
    """``{train,val,test}.json`` of VizWiz-VQA: a bare array; a question is known by its picture.

    Gurari et al., "VizWiz Grand Challenge", CVPR 2018.  Its answers carry no ``answer_id``: an
    annotator is a position.
    """

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path)
        unique = Unique(path, "picture")
        for number, entry in enumerate(stream(path)):
            filename = text(entry, "image", path, number)
            unique(filename)
            known = entry.get("answers") is not None
            people = listed(entry, "answers", path, number) if known else []
            answers = [text(person, "answer", path, number) for person in people]
            cells = {
                "image": pictures.image(filename, number),
                "image_id": filename,
                "question_id": filename,
                "question": text(entry, "question", path, number),
                "answers": ten(answers, path, filename) if known else None,
                "question_type": None,
                "answer_type": entry.get("answer_type"),
                "answerable": entry.get("answerable"),
            }
            yield Line(cells, f"{path} record {number}")


VAL = Hub(repos=lmms_lab("VizWiz-VQA"), split="val", convert=vqa_row)
