"""Every Eval Ever's samples (``<uuid>_samples.jsonl``), with the aggregate ``<uuid>.json`` beside.

A file may hold several results of several evaluations: each is a part.  ``sample_id`` is official
only if whoever wrote the file had an official id.  Knows no benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.reading import numbered_json_lines
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign.values import (
    ForeignLog,
    beside,
    listed,
    mapping,
    number,
    one_text,
    whole,
)
from infimm_eval.logs.publish import carried
from infimm_eval.types import ForeignRecord

TOOL = "Every Eval Ever"


def samples(path: Path) -> ForeignLog:
    """A samples file."""
    total = beside(path.with_name(path.name.removesuffix("_samples.jsonl") + ".json"))
    library, model = mapping(total.get("eval_library")), mapping(total.get("model_info"))
    _, first = next(numbered_json_lines(path), (0, {}))
    name = str(mapping(first).get("evaluation_name") or "")
    return ForeignLog(
        tool=TOOL,
        path=path,
        records=lambda: _records(path),
        names=(name,) if name else (),
        model=str(model.get("name") or ""),
        version=f"from {library.get('name')} {library.get('version')}" if library else "",
        figures={
            name: score
            for result in map(mapping, listed(total.get("evaluation_results")))
            for name, score in _total(result)
        },
    )


def _total(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    score = number(mapping(result.get("score_details")).get("score"))
    if score is not None:
        yield str(result.get("evaluation_result_id") or result.get("evaluation_name")), score


def _records(path: Path) -> Iterator[tuple[str, ForeignRecord]]:
    for line, row in numbered_json_lines(path):
        place = f"{path} line {line}"
        asked = row.get("input") if isinstance(row, dict) else None
        said = row.get("output") if isinstance(row, dict) else None
        if not isinstance(asked, dict) or not isinstance(said, dict) or "sample_id" not in row:
            raise UsageError(f"{place} is no sample of Every Eval Ever: it lacks input or output")
        part = str(row.get("evaluation_result_id") or row.get("evaluation_name") or "")
        score = number(mapping(row.get("evaluation")).get("score"))
        heard = mapping(next(reversed(listed(row.get("answer_attribution"))), None))
        options = tuple(map(str, listed(asked.get("choices"))))
        ours = carried.unpack(row.get("metadata"))
        text, references = _lettered(one_text(said.get("raw"), place), asked, options)
        yield (
            part,
            ForeignRecord(
                place=place,
                row=whole(row["sample_id"]),
                id=str(row["sample_id"]),
                prompt=str(asked.get("raw") or asked.get("formatted") or ""),
                references=references,
                options=options,
                text=ours[1] if ours else text,
                heard=str(heard.get("extracted_value", text)),
                values={} if score is None else {part: score},
                error=str(row.get("error") or ""),
                sample=ours[0] if ours else None,
                fields=row,
            ),
        )


def _lettered(
    text: str, asked: Mapping[str, Any], options: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """What was said and the right answers.  Where options were ranked, the right one stands there
    by number and the chosen one by its text: both become letters."""
    references = tuple(map(str, listed(asked.get("reference"))))
    numbered = [whole(reference) for reference in references]
    if text not in options or not all(n is not None and 0 <= n < len(options) for n in numbered):
        return text, references
    letters = tuple(ascii_uppercase[n] for n in numbered if n is not None)
    return ascii_uppercase[options.index(text)], letters
