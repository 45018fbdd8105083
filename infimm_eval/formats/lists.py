"""Results as JSON lists: COCO captions and the EvalAI lists of VQAv2, OK-VQA, TextVQA, VizWiz."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.formats.files import integer, load_list, load_object, once, text_of, write_json
from infimm_eval.types import Record, Sample, Submission

_Write = Callable[[Sequence[Record], Path], None]


def vqa(
    filename: str,
    *,
    spoken: Callable[[str], str] = str.strip,
    numeric: bool = True,
    key: str = "question_id",
) -> Submission:
    """``[{"question_id": 1, "answer": "yes"}, ...]`` with every id of the split.

    ``spoken`` is what is sent for an answer.  VQAv2's server normalises only where people
    disagree, so there an answer is normalised before it is sent.
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
        for row in load_list(path, (key, "answer")):
            once(path, found, str(row[key]), text_of(row["answer"], path, str(row[key])))
        return found

    return Submission(filename=filename, write=write, read=read, references=vqa_annotations)


def vqa_annotations(path: Path) -> Iterator[Sample]:
    """The people's answers of a VQA annotations file, without questions or pictures."""
    for row in _annotations(path):
        answers = row.get("answers") or []
        yield Sample(
            id=str(row["question_id"]),
            references=tuple(a["answer"] if isinstance(a, dict) else a for a in answers),
            group=str(row.get("image_id", "")),
            tags={k: row[k] for k in ("answer_type", "question_type") if row.get(k)},
        )


def captions(filename: str) -> Submission:
    """``[{"image_id": 1, "caption": "a dog"}, ...]``, one a picture.

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
        for row in load_list(path, ("image_id", "caption")):
            once(path, found, str(row["image_id"]), text_of(row["caption"], path, "a picture"))
        return found

    return Submission(
        filename=filename, write=write, read=read, references=coco_captions, missing="left out"
    )


def coco_captions(path: Path) -> Iterator[Sample]:
    """The references of a COCO caption file (``annotations``: ``image_id``, ``caption``)."""
    people: dict[str, list[str]] = {}
    for row in _annotations(path):
        people.setdefault(str(row["image_id"]), []).append(row["caption"])
    for image_id, said in people.items():
        yield Sample(id=image_id, references=tuple(said), group=image_id)


def _annotations(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = load_object(path, "annotations to a list").get("annotations", [])
    if not rows:
        raise UsageError(f"{path} has no annotations; give the annotations file of the split")
    return rows


def _add(path: Path, name: str, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        if name in archive.namelist():
            raise UsageError(f"{path} already holds {name}; remove the archive to write it anew")
        archive.writestr(name, text)
