"""lm-evaluation-harness's samples: ``samples_<task>_<time>.jsonl``, ``results_<time>.json`` beside.

A line holds the whole row under ``doc``, every filter's lines follow each other, and an option's
log-likelihood is a number written as text.  Knows no benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.reading import numbered_json_lines
from infimm_eval.errors import UsageError
from infimm_eval.logs.foreign.lmms_eval import totals
from infimm_eval.logs.foreign.values import (
    ForeignLog,
    a_list,
    beside,
    listed,
    mapping,
    number,
    numbers,
    one_text,
    whole,
)
from infimm_eval.types import ForeignRecord

TOOL = "lm-eval"
_NAME = re.compile(r"(?:samples_)?(?P<task>.+?)(?:_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+))?\.jsonl$")
_IDS = ("question_id", "id", "pid", "index", "image_id", "cocoid")
"""Columns that published datasets keep an official id in, the surest first."""


def samples(path: Path) -> ForeignLog:
    """A samples file."""
    named = _NAME.match(path.name)
    task = named["task"] if named else ""
    results = beside(path.with_name(f"results_{named['time']}.json")) if named else {}
    return ForeignLog(
        tool=TOOL,
        path=path,
        records=lambda: _records(path),
        names=(task,) if path.name.startswith("samples_") else (),
        model=str(results.get("model_name") or ""),
        version=str(results.get("lm_eval_version") or ""),
        shots=whole(mapping(results.get("n-shot")).get(task)),
        figures=totals(results, task),
    )


def _records(path: Path) -> Iterator[tuple[str, ForeignRecord]]:
    for line, row in numbered_json_lines(path):
        place = f"{path} line {line}"
        if not isinstance(row, dict) or not isinstance(row.get("doc"), dict):
            raise UsageError(f"{place} is no sample of lm-evaluation-harness: it lacks its doc")
        doc = row["doc"]
        options = tuple(a_list(doc.get("choices") or doc.get("options")))
        ranked = _ranked(row.get("resps"))
        part = str(row.get("filter") or "")
        names = [name for name in listed(row.get("metrics")) if isinstance(name, str)]
        yield (
            part,
            ForeignRecord(
                place=place,
                row=whole(row.get("doc_id")),
                id=next((str(doc[name]) for name in _IDS if doc.get(name) not in (None, "")), ""),
                prompt=_prompt(row),
                target=str(row.get("target") or ""),
                references=_references(doc, options),
                options=options,
                text=ranked or one_text(row.get("resps"), place),
                heard=None if ranked else one_text(row.get("filtered_resps"), place),
                values={_called(n, part): v for n, v in numbers(row, names).items()},
                fields=row,
            ),
        )


def _called(metric: str, filter: str) -> str:
    return metric if filter in ("", "none") else f"{metric},{filter}"


def _prompt(row: Mapping[str, Any]) -> str:
    first = mapping(mapping(row.get("arguments")).get("gen_args_0"))
    return str(first.get("arg_0") or "")


def _ranked(resps: Any) -> str:
    """The letter of the likeliest option where options were ranked, else ""."""
    pairs = [one[0] for one in listed(resps) if isinstance(one, list) and one]
    if not pairs or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return ""
    liks = [_loglik(pair[0]) for pair in pairs]
    known = None not in liks and len(liks) <= len(ascii_uppercase)
    return ascii_uppercase[liks.index(max(liks))] if known else ""  # type: ignore[type-var]


def _loglik(said: Any) -> float | None:
    return float("-inf") if said in ("-inf", "-Infinity") else number(said)


def _references(doc: Mapping[str, Any], options: tuple[str, ...]) -> tuple[str, ...]:
    """The right answers of a row: a choice's letter, or people's answers."""
    answer, answers = doc.get("answer"), doc.get("answers")
    if type(answer) is int and 0 <= answer < len(options):
        return (ascii_uppercase[answer],)
    if people := listed(answers):
        people = [one.get("answer") if isinstance(one, dict) else one for one in people]
        return tuple(map(str, people))
    return tuple(a_list(answer)) or ((str(answer),) if answer not in (None, "") else ())
