"""Caption sets as Karpathy split them: COCO and Flickr30k.

Columns: ``image``, ``image_id``, ``filename``, ``captions`` (every reference, as written).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimm_eval.data.pictures import Folder, folder
from infimm_eval.data.reading import Line, Unique, column, identifier, listed, require, stream, text
from infimm_eval.errors import UsageError
from infimm_eval.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Karpathy:
    """One split of ``dataset_coco.json`` or ``dataset_flickr30k.json``.

    Karpathy and Fei-Fei, "Deep Visual-Semantic Alignments", CVPR 2015.  Membership of the test
    split stands in this file and nowhere else.
    """

    file: str
    split: str
    images: str | None = None
    """The picture folder; ``None``: each entry names its own (``filepath``)."""

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        pictures = self.images or "val2014 and train2014"
        return (
            f"{self.file} (it alone says which pictures are the {self.split} split)",
            f"the pictures in {pictures} (folder or .zip)",
        )

    def files(self, root: Path) -> tuple[Path, ...]:
        """The files that rows are read from, without the pictures."""
        return (require(root, self.file),)

    def rows(self, root: Path) -> Iterator[Row]:
        """The rows, in the published order."""
        (path,) = self.files(root)
        unique = Unique(path, "image id")
        places: dict[str, Folder] = {}
        for number, entry in enumerate(stream(path, "images")):
            if column(entry, "split", path, number) != self.split:
                continue
            filename = text(entry, "filename", path, number)
            people = listed(entry, "sentences", path, number)
            captions = [text(person, "raw", path, number) for person in people]
            if not captions:
                raise UsageError(f"{path}: {filename} has no caption")
            # Flickr30k's entries have no cocoid: there a picture is known by its file's number.
            known = "cocoid" in entry
            image_id = identifier(entry, "cocoid", path, number) if known else Path(filename).stem
            unique(image_id)
            place = self.images or text(entry, "filepath", path, number)
            if place not in places:
                places[place] = folder(root, place, near=path)
            cells = {
                "image": places[place].image(filename, number),
                "image_id": image_id,
                "filename": filename,
                "captions": captions,
            }
            yield Line(cells, f"{path} record {number}")
        if not places:
            raise UsageError(f"{path} has no picture in the split {self.split!r}")
