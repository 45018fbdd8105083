"""Benchmarks of one's own: JSON lines and a folder of pictures.

Knows how a row names its pictures and its options; what is asked about them is the task's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infimm_eval.data.choices import require_letter
from infimm_eval.data.pictures import Folder, folder
from infimm_eval.data.reading import Line, OneFileAndPictures, numbered_json_lines
from infimm_eval.errors import UsageError, named, shown
from infimm_eval.types import Image, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLines(OneFileAndPictures):
    """One row a line, as it stands, with its pictures found.

    ``image`` (or ``images``) names a file in the folder, or a list of them: ``row["image"]`` is
    the first picture and ``row["images"]`` a tuple of all; ``[]`` for a row without.  Where
    ``options`` is there it is a list of texts, and an ``answer`` that is a text has to be the
    letter of one of them.
    """

    def rows(self, root: Path) -> Iterator[Row]:
        """``UsageError`` names the file and the line that is not so."""
        (path,) = self.files(root)
        pictures = folder(root, self.images, near=path)
        for number, cells in numbered_json_lines(path):
            row = Line(_object(cells, f"{path} line {number}"), f"{path} line {number}")
            row["images"] = images = tuple(_pictures(row, pictures))
            row.pop("image", None)
            if images:
                row["image"] = images[0]
            _check_choice(row)
            yield row


def _object(cells: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(cells, dict):
        raise UsageError(f"{place} is {shown(cells)!r}; an object is wanted, {{...}}")
    return cells


def _pictures(row: Line, pictures: Folder) -> Iterator[Image]:
    named = row["images"] if "images" in row else row["image"]
    for name in named if isinstance(named, list) else [named]:
        if not isinstance(name, str) or not name:
            raise UsageError(f"{row.place}: {name!r} is no name of a picture")
        image = pictures.image(name)
        try:
            image.key  # noqa: B018 - looks the picture up without reading it
        except FileNotFoundError:
            raise UsageError(f"{row.place}: there is no picture {image.name}") from None
        except OSError as odd:
            raise UsageError(f"{row.place}: {odd}") from None
        yield image


def _check_choice(row: Line) -> None:
    if (options := row.get("options")) is None:
        return
    if not isinstance(options, list) or not all(isinstance(text, str) for text in options):
        raise UsageError(f"{row.place}: options is {named(options)}; a list of texts is wanted")
    if isinstance(answer := row.get("answer"), str):
        require_letter(answer, options, row.place)
