"""COCO's caption files: all of a year's split, and the pictures whose captions are withheld.

The Karpathy splits, which Flickr30k has too, are read by ``infimm_eval.data.captions``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from infimm_eval.data.hub_datasets import lmms_lab
from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import Line, OneFileAndPictures, Unique, identifier, stream, text
from infimm_eval.errors import UsageError
from infimm_eval.types import Hub, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoCaptions(OneFileAndPictures):
    """All of ``captions_train2014.json`` or ``captions_val2014.json``, in the order of its images.

    Chen et al., "Microsoft COCO Captions", arXiv:1504.00325.  Not the Karpathy split.
    """

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path)
        names: dict[int | str, str] = {}
        unique = Unique(path, "image id")
        for number, entry in enumerate(stream(path, "images")):
            unique(image_id := identifier(entry, "id", path, number))
            names[image_id] = text(entry, "file_name", path, number)
        captions: dict[int | str, list[str]] = {}
        for number, entry in enumerate(stream(path, "annotations")):
            image_id = identifier(entry, "image_id", path, number)
            captions.setdefault(image_id, []).append(text(entry, "caption", path, number))
        for number, (image_id, filename) in enumerate(names.items()):
            if image_id not in captions:
                raise UsageError(f"{path}: image {image_id} has no caption")
            cells = {
                "image": pictures.image(filename, number),
                "image_id": image_id,
                "filename": filename,
                "captions": captions[image_id],
            }
            yield Line(cells, f"{path} record {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoImages(OneFileAndPictures):
    """The pictures of ``image_info_test2014.json``, whose captions are withheld."""

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path)
        unique = Unique(path, "image id")
        for number, entry in enumerate(stream(path, "images")):
            image_id = identifier(entry, "id", path, number)
            unique(image_id)
            filename = text(entry, "file_name", path, number)
            cells = {
                "image": pictures.image(filename, number),
                "image_id": image_id,
                "filename": filename,
                "captions": None,
            }
            yield Line(cells, f"{path} record {number}")


def _karpathy(row: Row) -> Row:
    return {
        "image_id": row["cocoid"],
        "filename": row["filename"],
        "captions": list(row["sentences"]),
    }


def _picture(row: Row) -> Row:
    return {"filename": row["question_id"], "image": row["image"]}


_PICTURES = Hub(repos=lmms_lab("COCO-Caption"), split="val", convert=_picture)
"""All 40,504 pictures of val2014."""
KARPATHY_TEST = Hub(
    repos=("yerevann/coco-karpathy",), split="test", convert=_karpathy, pictures=_PICTURES
)
KARPATHY_RESTVAL = replace(KARPATHY_TEST, split="restval")
"""Shots for captioning: pictures of val2014 that are in neither test nor validation.  (No Parquet
of train2014 under its official file names was found.)  Never for VQA, whose questions they are."""
