"""A run on disk: one SQLite file that survives anything, and everything that can be read from it.

It refuses to know models and scorers: it keeps what was asked, what was said, and what came of it.

    schema   the tables, and the first schema seen as today's   codec   values to text and back
    values   cells, keys, entries                                store   the file itself
    export   results.json, JSONL, Parquet                        locking  one writer a folder

A cell holds all it takes to score it again, to compare it, to report it and to submit it, without
the dataset and without the model.  A finished cell is never lost: another model, prompt, limit or
scorer makes another cell.
"""

from infimm_eval.logs.codec import asker, dump_prompt, request_key
from infimm_eval.logs.export import (
    cell_row,
    results,
    sample_line,
    write_jsonl,
    write_parquet,
    write_results,
)
from infimm_eval.logs.frames import Frames
from infimm_eval.logs.schema import SCHEMA
from infimm_eval.logs.store import FILE, Draft, Extent, Log, read
from infimm_eval.logs.values import Cell, CellKey, Entry, NamedImage, fingerprint, shown

__all__ = [
    "FILE",
    "SCHEMA",
    "Cell",
    "CellKey",
    "Draft",
    "Entry",
    "Extent",
    "Frames",
    "Log",
    "NamedImage",
    "asker",
    "cell_row",
    "dump_prompt",
    "fingerprint",
    "read",
    "request_key",
    "results",
    "sample_line",
    "shown",
    "write_jsonl",
    "write_parquet",
    "write_results",
]
