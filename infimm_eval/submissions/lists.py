"""Results as JSON lists: COCO captions and the EvalAI lists of VQAv2, OK-VQA, TextVQA, VizWiz.

Reads their authors' answer files too.  Knows no scorer and no picture.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infimm_eval.data.pictures import BROKEN_ZIP, require_archive
from infimm_eval.data.reading import column, identifier, listed, parse_json, text
from infimm_eval.data.vqa import ten
from infimm_eval.errors import UsageError
from infimm_eval.submissions.files import (
    entries,
    id_of,
    integer,
    load_json,
    load_list,
    once,
    text_of,
    write_json,
)
from infimm_eval.types import Record, Sample, Submission


def vqa(
    filename: str,
    *,
    spoken: Callable[[str], str] = str.strip,
    numeric: bool = True,
    key: str = "question_id",
    refused: str = "",
) -> Submission:
    """``[{"question_id": 1, "answer": "yes"}, ...]`` with every id of the split.

    ``spoken`` is what is sent for an answer.  VQAv2's server normalises only where people
    disagree, so there an answer is normalised before it is sent.  ``refused`` is ``Submission``'s.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        rows = [
            {
                key: integer(r.sample.id, filename) if numeric else r.sample.id,
                "answer": spoken(r.text),
            }
            for r in records
        ]
        write_json(path, rows)

    def read(path: Path) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for number, row in enumerate(load_list(path, (key, "answer"))):
            id = id_of(row, key, path, number)
            once(path, found, id, text_of(row["answer"], path, id))
        return found

    return Submission(
        filename=filename, write=write, read=read, references=vqa_annotations, refused=refused
    )


def vqa_annotations(path: Path) -> Iterator[Sample]:
    """The people's answers, without questions or pictures: of a VQA annotations file
    (``annotations``), of TextVQA's (``data``) or of VizWiz's (a bare list).

    Where people's words stand beside their stems (OK-VQA), the words are the references and the
    stems are kept, a line each, in ``tags["stems"]``.
    """
    body = load_json(path)
    found = body if isinstance(body, list) else _under(body, path, "annotations", "data")
    for number, row in enumerate(entries(path, found)):
        key = "question_id" if "question_id" in row else "image"
        id = str(identifier(row, key, path, number))
        answers = column(row, "answers", path, number)
        answers = listed(row, "answers", path, number) if answers is not None else []
        people = [a if isinstance(a, dict) else {"answer": a} for a in answers]
        said = [text(person, "answer", path, number) for person in people]
        words = [text(p, "raw_answer", path, number) for p in people if p.get("raw_answer")]
        tags = {k: row[k] for k in ("answer_type", "question_type") if row.get(k)}
        if whole := len(words) == len(said) > 0:
            tags["stems"] = "\n".join(said)
        if said:  # none at all: they are withheld
            ten(said, path, id)
        image = str(row.get("image_id", row.get("image", "")))
        asked = row.get("question")
        question = (asked,) if isinstance(asked, str) else ()
        yield Sample(
            id=id,
            question=question,
            references=tuple(words if whole else said),
            group=image,
            tags=tags,
        )


def captions(filename: str, size: int | None = None) -> Submission:
    """``[{"image_id": 1, "caption": "a dog"}, ...]``, one a picture; ``size`` pictures a split.

    An output that ends in ``.zip`` becomes (or, where it is there, is added to) the archive that
    the COCO server takes: ``captions_val2014_<alg>_results.json`` beside
    ``captions_test2014_<alg>_results.json``.
    """

    def write(records: Sequence[Record], path: Path) -> None:
        rows = [
            {"image_id": integer(r.sample.id, filename), "caption": r.text.strip()} for r in records
        ]
        if path.suffix == ".zip":
            _add(path, filename, json.dumps(rows, ensure_ascii=False))
        else:
            write_json(path, rows)

    def read(path: Path) -> Mapping[str, str]:
        found: dict[str, str] = {}
        body = _member(path, filename) if path.suffix == ".zip" else None
        for number, row in enumerate(load_list(path, ("image_id", "caption"), body)):
            image = id_of(row, "image_id", path, number)
            once(path, found, image, text_of(row["caption"], path, f"picture {image}"))
        return found

    return Submission(
        filename=filename,
        write=write,
        read=read,
        references=coco_captions,
        missing="left out",
        size=size,
    )


def coco_captions(path: Path) -> Iterator[Sample]:
    """The references of a COCO caption file (``annotations``: ``image_id``, ``caption``), or of
    the test split in Karpathy's (``images`` with their ``sentences``)."""
    body = load_json(path)
    people: dict[str, list[str]] = {}
    if isinstance(body, dict) and "annotations" not in body and "images" in body:
        for number, row in enumerate(entries(path, body["images"])):
            if column(row, "split", path, number) == "test":
                known = "cocoid" in row
                name = Path(text(row, "filename", path, number)).stem
                image = str(identifier(row, "cocoid", path, number)) if known else name
                said = listed(row, "sentences", path, number)
                people[image] = [text(sentence, "raw", path, number) for sentence in said]
    else:
        for number, row in enumerate(entries(path, _under(body, path, "annotations"))):
            image = str(identifier(row, "image_id", path, number))
            people.setdefault(image, []).append(text(row, "caption", path, number))
    for image, said in people.items():
        yield Sample(id=image, references=tuple(said), group=image)


def _under(body: Any, path: Path, *names: str) -> Any:
    """What a file holds under the first of the names that it has."""
    for name in names:
        if isinstance(body, dict) and body.get(name):
            return body[name]
    raise UsageError(f"{path} has no {names[0]}; give the annotations file of the split")


_LARGEST = 1 << 28
"""No results of a split have more bytes: an archive's member that claims to would fill the memory.
"""


def _add(path: Path, name: str, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        require_archive(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        if name in archive.namelist():
            raise UsageError(f"{path} already holds {name}; remove the archive to write it anew")
        archive.writestr(name, body)


def _member(path: Path, name: str) -> Any:
    """The results of one split out of the server's archive: its own name, or whose first words
    (``captions_val2014``) are the same, or all there is."""
    require_archive(path)
    with zipfile.ZipFile(path) as archive:
        results = [member for member in archive.namelist() if member.endswith("_results.json")]
        split = "_".join(name.split("_")[:2])
        meant = [member for member in results if Path(member).name.startswith(split)]
        if len(meant or results) != 1:
            held = ", ".join(results) or "nothing of the kind"
            raise UsageError(f"{path} should hold one {split}_..._results.json; it holds {held}")
        member = (meant or results)[0]
        if archive.getinfo(member).file_size > _LARGEST:
            raise UsageError(f"{path}: {member} unpacks to more than any results; is it damaged?")
        try:
            return parse_json(archive.read(member), f"{path}: {member}")
        except BROKEN_ZIP as broken:
            raise UsageError(f"{path}: {member} cannot be unpacked ({broken})") from broken
