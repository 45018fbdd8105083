"""lmms-eval's samples: ``<time>_samples_<task>.jsonl`` with ``<time>_results.json`` beside it.

Since 0.4 a line drops the row it came from: references and options are gone but for what a
metric's dictionary keeps.  ``doc_hash`` is the same in every line and says nothing.  The lines of
several filters follow each other without the filter's name.  Knows no benchmark.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infimm_eval.data.reading import numbered_json_lines, stream
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign.values import (
    ForeignLog,
    a_list,
    beside,
    mapping,
    number,
    numbers,
    one_text,
    options_in,
    whole,
)
from infimm_eval.types import ForeignRecord

TOOL = "lmms-eval"
_NAME = re.compile(r"(?P<time>.*?)_?samples_(?P<task>.+)\.jsonl$")
_KNOWN = frozenset(
    {"doc_id", "target", "filtered_resps", "resps", "input", "input_media", "doc_hash", "doc"}
    | {"token_counts", "arguments", "prompt_hash", "target_hash"}
)


def samples(path: Path) -> ForeignLog:
    """A samples file of 0.4 or later."""
    named = _NAME.match(path.name)
    task = named["task"] if named else ""
    results = beside(path.with_name(f"{named['time']}_results.json")) if named else {}
    return ForeignLog(
        tool=TOOL,
        path=path,
        records=lambda: _records((f"{path} line {n}", row) for n, row in numbered_json_lines(path)),
        names=(task,) if task else (),
        model=str(results.get("model_name") or ""),
        version=_version(results.get("lmms_eval_version")),
        shots=whole(mapping(results.get("n-shot")).get(task)),
        figures=totals(results, task),
    )


def log_before_0_4(path: Path) -> ForeignLog:
    """The one JSON file a task of older versions, with its samples under ``logs``."""

    def records() -> Iterator[tuple[str, ForeignRecord]]:
        return _records((f"{path} entry {n}", row) for n, row in enumerate(stream(path, "logs")))

    return ForeignLog(tool=TOOL, path=path, records=records, names=(path.stem,))


def totals(results: Any, task: str) -> dict[str, float]:
    """``results.<task>["<metric>,<filter>"]`` of a results file, without deviations."""
    table = mapping(mapping(results.get("results")).get(task))
    found = {name.removesuffix(",none"): number(value) for name, value in table.items()}
    return {
        n: v for n, v in found.items() if v is not None and "_stderr" not in n and "," in f"{n},"
    }


def _version(said: Any) -> str:
    return "" if not said or "unknown" in str(said) else str(said)


def _records(rows: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, ForeignRecord]]:
    seen: Counter[int] = Counter()
    for place, row in rows:
        at = whole(row.get("doc_id")) if isinstance(row, dict) else None
        if at is None or ("filtered_resps" not in row and "resps" not in row):
            raise UsageError(
                f"{place} is no sample of lmms-eval: it lacks doc_id or filtered_resps"
            )
        seen[at] += 1
        heard = one_text(row.get("filtered_resps", row.get("resps")), place)
        prompt = str(row.get("input") or "")
        # it writes "answer" where a task names no column for the target
        target = "" if row.get("target") in (None, "answer") else str(row["target"])
        part = "" if seen[at] == 1 else f"filter {seen[at]}"
        more = f" ({part})" if part else ""
        yield (
            part,
            ForeignRecord(
                place=place,
                row=at,
                prompt=prompt,
                target=target,
                references=tuple(a_list(target)) or ((target,) if target else ()),
                options=options_in(prompt),
                text=one_text(row.get("resps", heard), place),
                heard=heard,
                values={f"{name}{more}": value for name, value in _scores(row).items()},
                fields=row,
            ),
        )


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    return numbers(row, (name for name in row if name not in _KNOWN))
