"""Golden cases, real predictions where they are at hand, and short ways to write records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.scorers import learn, score
from infimm_eval.types import Answer, Outcome, Record, Sample, Score, Scorer, Scoring

_TESTS = Path(__file__).parents[1]


def golden(name: str) -> Any:
    return json.loads((_TESTS / "golden" / f"{name}.json").read_text(encoding="utf-8"))


def real(*parts: str) -> Path:
    """A file of real predictions beside the repository; skips where there is none."""
    path = _TESTS.parents[1].joinpath("shared", "conformance", *parts)
    if not path.exists():
        pytest.skip(f"real predictions are not at hand: shared/conformance/{'/'.join(parts)}")
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def record(
    said: str,
    references: Sequence[str] = (),
    *,
    id: str = "1",
    options: Iterable[str] = (),
    group: str = "",
    tags: Mapping[str, str] | None = None,
) -> Record:
    sample = Sample(
        id=id,
        references=tuple(references),
        options=tuple((option,) for option in options),
        group=group,
        tags=tags or {},
    )
    return Record(sample, Answer(id, said), said)


def scores(scorer: Scorer, records: Sequence[Record]) -> list[Score]:
    return list(scoring(scorer, records, [record.sample for record in records]).scores)


def scoring(scorer: Scorer, records: Sequence[Record], split: Iterable[Sample]) -> Scoring:
    return score(scorer, records, learn(scorer, split))


def outcomes(records: Sequence[Record], scores: Sequence[Score]) -> list[Outcome]:
    return [
        Outcome(record.sample.id, record.sample.group, record.sample.tags, score)
        for record, score in zip(records, scores, strict=True)
    ]


def percent(scores: Sequence[Score]) -> float:
    values = [score.value for score in scores]
    return 100 * sum(value for value in values if value is not None) / len(values)
