"""A run on disk: one SQLite file that survives anything, and everything that can be read from it.

It refuses to know models and rulers: it keeps what was asked, what was said, and what came of it.

    answer   what a model said, under the key of exactly what it was asked; never rewritten
    entry    one line a sample of a cell: the sample, its shots, which answer is its own, the score
    cell     one task at one shot count and seed: settings, metrics, the evidence behind them
    picture  thumbnails of the pictures that a report shows

A cell holds all it takes to score it again, to compare it, to report it and to submit it, without
the dataset and without the model.
"""

from infimm_eval.log.codec import asker, dump_prompt, request_key
from infimm_eval.log.export import results, write_jsonl, write_parquet, write_results
from infimm_eval.log.store import FILE, SCHEMA, Log, read
from infimm_eval.log.values import Cell, Entry, Named, Place

__all__ = [
    "FILE",
    "SCHEMA",
    "Cell",
    "Entry",
    "Log",
    "Named",
    "Place",
    "asker",
    "dump_prompt",
    "read",
    "request_key",
    "results",
    "write_jsonl",
    "write_parquet",
    "write_results",
]
