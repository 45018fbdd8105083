"""Inspect's logs: JSON, or a ``.eval`` archive whose members are packed with Zstandard.

Texts are taken from the samples, never from the summaries, where they are thinned.  Sample ids
are 1, 2, 3 where the task gives none.  Knows no benchmark.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from infimm_eval.data.pictures import BROKEN_ZIP
from infimm_eval.data.reading import open_data, parse_json, stream, stream_object
from infimm_eval.errors import UsageError, shown
from infimm_eval.logs.foreign.values import ForeignLog, listed, mapping, number, whole
from infimm_eval.logs.publish import carried
from infimm_eval.types import ForeignRecord

TOOL = "Inspect"
_ZSTANDARD = 93
_LARGEST = 1 << 28
"""No sample of a log unpacks to more bytes."""
_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member's own header in a ZIP: the lengths of its name and of its extra field."""


def json_log(path: Path) -> ForeignLog:
    """A log as one JSON file; its samples are read one at a time."""
    head: dict[str, Any] = {}
    for name, value in stream_object(path):
        if name == "samples":
            break
        head[name] = value
        if "eval" in head and "results" in head:
            break

    def samples() -> Iterator[tuple[str, Any]]:
        return ((f"{path} sample {n}", row) for n, row in enumerate(stream(path, "samples"), 1))

    return _log(path, head, samples)


def archive(path: Path) -> ForeignLog:
    """A log as an archive."""
    with open_data(path) as file, _zip(path, file) as opened:
        members = opened.namelist()
        if "header.json" not in members:
            raise UsageError(f"{path} is an unfinished log of Inspect; it has no header.json")
        head = _member(path, opened, file, "header.json")

    def samples() -> Iterator[tuple[str, Any]]:
        with open_data(path) as file, _zip(path, file) as opened:
            for name in sorted(n for n in opened.namelist() if n.startswith("samples/")):
                yield f"{path}: {name}", _member(path, opened, file, name)

    return _log(path, head, samples)


def _zip(path: Path, file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except BROKEN_ZIP as broken:
        raise UsageError(f"{path} is no archive that can be opened ({broken})") from broken


def _member(path: Path, opened: zipfile.ZipFile, file: BinaryIO, name: str) -> Any:
    info = opened.getinfo(name)
    if info.file_size > _LARGEST:
        raise UsageError(f"{path}: {name} unpacks to more than any sample; is it damaged?")
    try:
        if info.compress_type != _ZSTANDARD:
            return parse_json(opened.read(info), f"{path}: {name}")
        import pyarrow  # before 3.14, zipfile does not know the method

        file.seek(info.header_offset)
        skipped = sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
        file.seek(skipped, 1)
        packed = pyarrow.BufferReader(file.read(info.compress_size))
        with pyarrow.CompressedInputStream(packed, "zstd") as unpacked:
            return parse_json(unpacked.read(info.file_size), f"{path}: {name}")
    except (*BROKEN_ZIP, struct.error) as broken:
        raise UsageError(f"{path}: {name} cannot be unpacked ({broken})") from broken


def _log(
    path: Path, head: Mapping[str, Any], samples: Callable[[], Iterator[tuple[str, Any]]]
) -> ForeignLog:
    run = head.get("eval")
    if not isinstance(run, dict):
        raise UsageError(f"{path} is an Inspect log without its eval; is it whole?")
    dataset, told, packages = (mapping(run.get(n)) for n in ("dataset", "metadata", "packages"))
    return ForeignLog(
        tool=TOOL,
        path=path,
        records=lambda: (_record(place, row) for place, row in samples()),
        names=tuple(str(name) for name in (run.get("task"), dataset.get("name")) if name),
        model=str(run.get("model") or ""),
        version=str(packages.get("inspect_ai") or ""),
        shots=whole(told.get("shots")),
        figures=dict(_totals(head.get("results"))),
    )


def _totals(results: Any) -> Iterator[tuple[str, float]]:
    for score in map(mapping, listed(mapping(results).get("scores"))):
        for name, metric in mapping(score.get("metrics")).items():
            if (value := number(mapping(metric).get("value"))) is not None:
                yield f"{score.get('name')}.{name}", value


def _record(place: str, row: Any) -> tuple[str, ForeignRecord]:
    if not isinstance(row, dict) or "id" not in row or "input" not in row:
        raise UsageError(f"{place} is {shown(row)}; a sample of Inspect has id and input")
    scores = mapping(row.get("scores"))
    target = row.get("target")
    references = target if isinstance(target, list) else [] if target in (None, "") else [target]
    heard = [score.get("answer") for score in scores.values() if isinstance(score, dict)]
    epoch = row.get("epoch") or 1
    ours = carried.unpack(row.get("metadata"))
    record = ForeignRecord(
        place=place,
        id=str(row["id"]),
        row=None if (at := whole(row["id"])) is None else at - 1,
        prompt=_asked(row["input"]),
        references=tuple(map(str, references)),
        options=tuple(map(str, listed(row.get("choices")))),
        text=ours[1] if ours else _said(row.get("output")),
        heard=next((str(said) for said in heard if said is not None), None),
        values={k: v for name, score in scores.items() for k, v in _values(name, score)},
        error=str(mapping(row.get("error")).get("message") or ""),
        sample=ours[0] if ours else None,
        fields={name: row[name] for name in ("metadata", "id", "epoch") if name in row},
    )
    return "" if epoch == 1 else f"epoch {epoch}", record


def _values(name: str, score: Any) -> Iterator[tuple[str, float]]:
    value = score.get("value") if isinstance(score, dict) else score
    parts = value.items() if isinstance(value, dict) else [("", value)]
    for key, one in parts:
        if (found := number(one)) is not None:
            yield f"{name}/{key}" if key else name, found


def _asked(given: Any) -> str:
    """The text of the last message of the user."""
    if isinstance(given, str):
        return given
    for message in reversed(given if isinstance(given, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def _said(output: Any) -> str:
    if not isinstance(output, dict):
        return ""
    if isinstance(output.get("completion"), str):
        return str(output["completion"])
    first = next(iter(listed(output.get("choices"))), None)
    return _text(mapping(mapping(first).get("message")).get("content"))


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(p.get("text") or "") for p in content if isinstance(p, dict))
    return str(content or "")
