"""VL-ICL Bench's folders: ``{task}/query.json`` and ``{task}/support.json``, and their pictures.

Zong et al., "VL-ICL Bench", ICLR 2025.  https://huggingface.co/datasets/ys-zong/VL-ICL
Knows where files lie and what every record of them holds; what is asked is the tasks'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from infimm_eval.data import pictures
from infimm_eval.data.reading import Line, Unique, require, stream
from infimm_eval.errors import UsageError, named
from infimm_eval.types import Image, Row

OPERATORS = ("+", "-", "x")

Splitter: TypeAlias = Callable[[Line], Iterator[Mapping[str, Any]]]
"""What a record is made of, where it is more than one row."""


def whole(record: Line) -> Iterator[Mapping[str, Any]]:
    """A record that is a row."""
    yield record


@dataclass(frozen=True, slots=True, kw_only=True)
class VlIcl:
    """One of a task's two files, each a list of records.

    A row holds the record's columns and ``images``, the pictures that its ``image`` names (a name,
    or a list of them, from the folder that holds the task's), ``id`` (the record's, or its number
    from 0) and ``question`` and ``answer`` as texts.
    """

    task: str
    part: str
    """``query`` or ``support``."""
    rows_of: Splitter = whole

    @property
    def expects(self) -> tuple[str, ...]:
        """What has to lie in the folder, for the message when it does not."""
        return (self._file, f"the pictures in {self.task} (unpacked by the data's unzip.sh)")

    def files(self, root: Path) -> tuple[Path, ...]:
        """The one file that rows are read from."""
        return (require(root, self._file),)

    def rows(self, root: Path) -> Iterator[Row]:
        """Every row.  ``UsageError`` names the file and the record that is not so."""
        (path,) = self.files(root)
        shelf, once = Shelf(root, path), Unique(path, "id")
        for number, record in enumerate(stream(path)):
            place = f"{path} record {number + 1}"
            for part in self.rows_of(_line(record, {"id": number}, place)):
                row = _line(part, {}, place)
                row["id"] = _text(row, "id")
                once(row["id"])
                row["images"] = tuple(shelf.pictures(row))
                row["question"] = _text(row, "question")
                row["answer"] = _text(row, "answer")
                yield row

    @property
    def _file(self) -> str:
        return f"{self.task}/{self.part}.json"


class Shelf:
    """The pictures of one task: names begin with the folder that they lie in."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self._path = root, path
        self._folders: dict[str, pictures.Folder] = {}

    def pictures(self, row: Line) -> Iterator[Image]:
        """Those that a row names, in order."""
        named_by = row["image"]
        for name in named_by if isinstance(named_by, list) else [named_by]:
            top, slash, rest = name.partition("/") if isinstance(name, str) else ("", "", "")
            if not (top and slash and rest):
                raise UsageError(
                    f"{row.place}: {named(name)} is no name of a picture, such as task/picture.png"
                )
            if top not in self._folders:
                self._folders[top] = pictures.folder(self._root, top, near=self._path)
            yield self._folders[top].image(rest, row.place)


def same_and_different(pair: Line) -> Iterator[Mapping[str, Any]]:
    """The two examples of a ``matching_mi`` shot: ``pair`` is its id, ``kind`` same or diff."""
    for kind in ("same", "diff"):
        example = _line(pair[kind], {}, f"{pair.place}, {kind}")
        yield {**example, "id": f"{pair['id']}/{kind}", "pair": str(pair["id"]), "kind": kind}


def shown_of_classes(query: Line) -> Iterator[Mapping[str, Any]]:
    """The examples that an ``open_mi`` query brings: the pictures of each of its classes."""
    support = _line(query["support"], {}, f"{query.place}, support")
    for name in classes(query):
        given = _line(support[name], {}, f"{query.place}, support of {name}")["images"]
        if not isinstance(given, list):
            raise UsageError(f"{query.place}: images of {name} is {named(given)}; a list is wanted")
        for number, picture in enumerate(given):
            yield {
                "id": f"{query['id']}/{name}/{number}",
                "query": str(query["id"]),
                "image": picture,
                "question": "This is a",
                "answer": name,
            }


def one_answer_each(example: Line) -> Iterator[Mapping[str, Any]]:
    """An ``operator_induction`` example: its three answers under their operators' names, of which
    the first stands for it."""
    answers = example["answer"]
    if not isinstance(answers, list) or len(answers) != len(OPERATORS):
        wanted = f"a list of {len(OPERATORS)}, one for each operator, is wanted"
        raise UsageError(f"{example.place}: answer is {named(answers)}; {wanted}")
    found = Line(dict(zip(OPERATORS, answers, strict=True)), example.place)
    by_operator = {operator: _text(found, operator) for operator in OPERATORS}
    yield {**example, "answer": answers[0], **by_operator}


def classes(query: Line) -> list[str]:
    """The names that a query chooses among."""
    found = query["classes"]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{query.place}: classes is {named(found)}; a list of texts is wanted")
    return found


def _line(record: Any, more: Mapping[str, Any], place: str) -> Line:
    if not isinstance(record, Mapping):
        raise UsageError(f"{place} is {named(record)}; an object is wanted, {{...}}")
    return Line({**more, **record}, place)


def _text(row: Line, column: str) -> str:
    """A text, or a number as one."""
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{row.place}: {column} is {named(value)}; a text is wanted")
    return str(value)
