"""A benchmark of one's own: a JSON-lines file and a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infimm_eval.data.pictures import folder
from infimm_eval.data.reading import OneFileAndPictures, column, json_lines
from infimm_eval.types import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLines(OneFileAndPictures):
    """One row a line, as it stands; the cell ``image`` names a file in ``images``."""

    def rows(self, root: Path) -> Iterator[Row]:
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path)
        for number, row in enumerate(json_lines(path)):
            yield {**row, "image": pictures.image(column(row, "image", path, number))}
