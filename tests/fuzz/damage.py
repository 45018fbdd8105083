"""Ways to damage a file: bytes flipped, cut, doubled; values of another kind; packed text in zips.

Knows file formats; knows no benchmark.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Random = random.Random


def damaged(data: bytes, suffix: str, rng: Random) -> bytes:
    """The file with one or a few mistakes, of the bytes or of what they mean."""
    try:
        return rng.choice([*BYTES, *MEANINGS.get(suffix, ())])(data, rng)
    except (ValueError, LookupError, zipfile.BadZipFile, pa.ArrowException):
        return flipped(data, rng)


# ---- bytes


def flipped(data: bytes, rng: Random) -> bytes:
    """A few bits the other way round."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    """What a broken download leaves."""
    return data[: rng.randrange(len(data))]


def spliced(data: bytes, rng: Random) -> bytes:
    """A piece doubled, removed, or overwritten with zeros."""
    at = rng.randrange(len(data))
    end = min(len(data), at + rng.choice([1, 10, 1000]))
    piece = data[at:end]
    return data[:at] + rng.choice([piece * 2, piece * 50, b"", bytes(len(piece))]) + data[end:]


def planted(data: bytes, rng: Random) -> bytes:
    """Something that should not be there."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(PLANTED) + data[at:]


PLANTED = [
    b"\x00",
    b"\xff\xfe",
    b"\r",
    b"\n",
    b'"',
    b"\t",
    b"{" * 20_000,
    b"[" * 20_000,
    b"9" * 5_000,
    b"\\ud800",
    b"\x1b[31m",
    "\u2028".encode(),
    b"<html>",
    b"A" * 300_000,
]

BYTES: list[Callable[[bytes, Random], bytes]] = [flipped, cut, spliced, planted]


# ---- what they mean

DEEP: Any = []
for _ in range(940):
    DEEP = [DEEP]

VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    7.5,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "\x00",
    "a\nb\x1b[31m",
    "../../../../etc/passwd",
    "/dev/zero",
    "x" * 100_000,
    [],
    {},
    [[]],
    [None],
    {"a": None},
    "123.0",
    "000123",
    "A",
    DEEP,
]
"""Of every kind, and of the kinds that readers trip over."""


def json_value(data: bytes, rng: Random) -> bytes:
    """One value of a JSON text by another, its name by another, or gone."""
    body = [json.loads(data)]
    holder, key = rng.choice(_places(body))
    how = rng.randrange(5)
    if how == 0 and holder is not body:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[rng.choice(["", "id", "\x00", "x" * 1000])] = holder.pop(key)
    elif how == 2 and isinstance(holder, list) and holder is not body:
        holder.append(holder[key])
    else:
        holder[key] = rng.choice(VALUES)
    return json.dumps(body[0]).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        keys = [*inner] if isinstance(inner, dict) else range(len(inner))
        found += [(inner, key) for key in keys]
        waiting += [inner[key] for key in keys if isinstance(inner[key], dict | list)]
    return found


def json_lines(data: bytes, rng: Random) -> bytes:
    """The same in one line of several."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = json_value(lines[at], rng)
    return b"\n".join(lines)


CELLS = [
    *("", "None", "nan", "-1", "inf", "1e400", "9" * 5000, "7.5", "1_000", "b", "B ", "Z", "../x"),
    *("=1+1", "['a', 'b'", "[[[[", "x" * 300_000, "data:image/png;base64,AAAA", "\x0b", "a\nb"),
]


def cell(data: bytes, rng: Random, separator: str = "\t") -> bytes:
    """One cell of a table by another, or gone with all behind it."""
    rows = list(csv.reader(io.StringIO(data.decode(), newline=""), delimiter=separator))
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    if rng.random() < 0.2:
        del row[at]
    elif rng.random() < 0.1:
        rows.append(list(row))
    else:
        row[at] = rng.choice(CELLS)
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator).writerows(rows)
    return out.getvalue().encode()


def member(data: bytes, rng: Random) -> bytes:
    """One file of an archive damaged, and packed again; or the archive's own facts changed."""
    if rng.random() < 0.2:
        return _bomb(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([name for name in held if held[name]])
    suffix = Path(name).suffix
    held[name] = damaged(held[name], suffix if suffix == ".json" else "", rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in held.items():
            archive.writestr(each, content)
    return out.getvalue()


def _bomb(data: bytes, rng: Random) -> bytes:
    """A member that says it is encrypted, packed otherwise, or of four gigabytes."""
    changed = bytearray(data)
    at = changed.rfind(b"PK\x01\x02")
    place, value = rng.choice([(8, b"\x01"), (10, b"\x63"), (24, b"\xff\xff\xff\xfe")])
    changed[at + place : at + place + len(value)] = value
    return bytes(changed)


def shard(data: bytes, rng: Random) -> bytes:
    """One column of a Parquet file of another type, null, renamed or gone."""
    table = pq.read_table(io.BytesIO(data))
    at = rng.randrange(table.num_columns)
    name, rows = table.column_names[at], table.num_rows
    column = rng.choice(
        [
            pa.nulls(rows),
            pa.array([7] * rows),
            pa.array(["x"] * rows),
            pa.array([["x"]] * rows),
            pa.array([{"bytes": None, "path": "x"}] * rows),
            pa.array([{"bytes": b"x" * 70, "path": None}] * rows),
        ]
    )
    changed = rng.choice(
        [
            table.set_column(at, name, column),
            table.remove_column(at),
            table.set_column(at, "other", table.column(at)),
            table.slice(0, 0),
        ]
    )
    out = io.BytesIO()
    pq.write_table(changed, out)
    return out.getvalue()


MEANINGS: dict[str, list[Callable[[bytes, Random], bytes]]] = {
    ".json": [json_value] * 6,
    ".jsonl": [json_lines] * 4,
    ".tsv": [cell] * 4,
    ".csv": [lambda data, rng: cell(data, rng, ",")] * 4,
    ".zip": [member] * 4,
    ".xlsx": [member] * 4,
    ".parquet": [shard] * 4,
}
