"""Every Eval Ever 0.3.0: ``data/<benchmark>/<developer>/<model>/<uuid>.json`` and its samples.

A file a benchmark; a result a cell, whose samples point to it.  Samples without a score are left
out and counted, as the schema wants a number.  Knows no benchmark.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Any
from uuid import UUID

from infimm_eval.errors import UsageError
from infimm_eval.logs.publish import carried
from infimm_eval.logs.publish.clean import clean_settings, clean_text
from infimm_eval.logs.publish.published import Published, label, model_name, scorer, write
from infimm_eval.logs.store import Log
from infimm_eval.logs.values import Cell, Entry, fingerprint

SCHEMA = "0.3.0"


def eee(log: Log, output: Path) -> Published:
    """One aggregate and one samples file a benchmark."""
    tasks: dict[str, list[Cell]] = {}
    for cell in log.shown():
        if cell.value is not None:
            tasks.setdefault(cell.task, []).append(cell)
    if not tasks:
        raise UsageError(f"{log.folder} has no figure to publish")
    files = [path for cells in tasks.values() for path in _write(log, cells, output)]
    return Published(
        files=tuple(files),
        command=f"cd {quote(str(output))} && find data -type f | xargs every_eval_ever validate",
        notes=("its repository takes the folder data/ by a pull request",),
    )


def _write(log: Log, cells: Sequence[Cell], output: Path) -> list[Path]:
    now = f"{time.time():.0f}"
    developer, _, name = model_name(cells[0]).rpartition("/")
    model = {"developer": _part(developer or "unknown"), "name": _part(name)}
    named = f"{_part(cells[0].task)}/{model['developer']}_{model['name']}/{now}"
    folder = Path("data", _part(cells[0].task), model["developer"], model["name"])
    uuid = UUID(fingerprint([named, [cell.key.name for cell in cells]], 32), version=4)
    aggregate, samples = folder / f"{uuid}.json", folder / f"{uuid}_samples.jsonl"
    rows, checksum = _write_samples(log, cells, named, output / samples)
    body = {
        "schema_version": SCHEMA,
        "evaluation_id": named,
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": "infimm_eval",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "infimm_eval",
            "version": str(cells[0].settings.get("code", {}).get("infimm_eval")),
        },
        "model_info": {
            "name": model["name"],
            "id": f"{model['developer']}/{model['name']}",
            "developer": model["developer"],
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": "unknown",
                "fingerprint": str(cells[0].settings.get("model", {}).get("fingerprint")),
            },
        },
        "evaluation_results": [_result(cell) for cell in cells],
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": samples.as_posix(),
            "hash_algorithm": "sha256",
            "checksum": checksum,
            "total_rows": rows,
        },
    }
    return [write(output / aggregate, json.dumps(body, indent=2) + "\n"), output / samples]


def _part(name: str) -> str:
    """A name as a folder's."""
    kept = "".join(mark if mark.isalnum() or mark in "-_." else "_" for mark in name)
    return kept.strip(".") or "unknown"


def _id(cell: Cell) -> str:
    return f"{label(cell)}, {cell.headline}"


def _result(cell: Cell) -> dict[str, Any]:
    protocol = cell.settings.get("protocol", {})
    decoding = protocol.get("decoding") or {}
    details = {
        "unscored": cell.unscored,
        "unparsed": cell.unparsed,
        "complete": cell.complete,
        **{f"metric {name}": value for name, value in cell.metrics.items()},
    }
    score: dict[str, Any] = {
        "score": cell.value,
        "details": {name: str(value) for name, value in details.items()},
    }
    if cell.ci95:
        score["uncertainty"] = {
            "confidence_interval": {
                "lower": cell.ci95[0],
                "upper": cell.ci95[1],
                "confidence_level": 0.95,
                "method": "over clusters of samples that share a picture",
            },
            "num_samples": cell.n,
        }
    return {
        "evaluation_result_id": _id(cell),
        "evaluation_name": label(cell),
        "source_data": {
            "dataset_name": cell.title,
            "source_type": "other",
            "samples_number": cell.n,
            "additional_details": {"data": json.dumps(clean_settings(protocol.get("data")))},
        },
        "metric_config": {
            "metric_id": cell.headline,
            "metric_name": cell.headline,
            "lower_is_better": False,
        },
        "score_details": score,
        "generation_config": {
            "generation_args": {
                theirs: decoding[ours] for theirs, ours in _DECODING.items() if ours in decoding
            },
            "additional_details": {
                "num_fewshot": str(cell.shots),
                "seed": str(cell.seed),
                "shot_selection": str(cell.support),
                "control": str(cell.control),
                "prompt": json.dumps(clean_settings(protocol.get("prompt")), ensure_ascii=False),
                "scorer": f"{scorer(cell).get('name')} v{scorer(cell).get('version')}",
            },
        },
    }


_DECODING = {"temperature": "temperature", "max_tokens": "max_new_tokens"}


def _write_samples(log: Log, cells: Sequence[Cell], evaluation: str, path: Path) -> tuple[int, str]:
    """How many lines were written, and their checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as file:
        for line in _lines(log, cells, evaluation):
            data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "replace")
            file.write(data)
            digest.update(data)
            count += 1
    return count, digest.hexdigest()


def _lines(log: Log, cells: Sequence[Cell], evaluation: str) -> Iterator[dict[str, Any]]:
    for cell in cells:
        for entry in log.entries(cell.key):
            if entry.score is not None and entry.score.value is not None:
                yield _line(cell, entry, entry.score.value, evaluation)


def _line(cell: Cell, entry: Entry, value: float, evaluation: str) -> dict[str, Any]:
    sample = entry.sample
    developer, _, name = model_name(cell).rpartition("/")
    asked = "".join(part for part in sample.question if isinstance(part, str))
    raw = clean_text(entry.answer.text) if entry.answer else ""
    references = [clean_text(reference) for reference in sample.references]
    options = ["".join(p for p in option if isinstance(p, str)) for option in sample.options]
    identity = json.dumps([asked, references], ensure_ascii=False).encode("utf-8", "replace")
    return {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation,
        "model_id": f"{_part(developer or 'unknown')}/{_part(name)}",
        "evaluation_name": label(cell),
        "evaluation_result_id": _id(cell),
        "sample_id": sample.id,
        "sample_hash": hashlib.sha256(identity).hexdigest(),
        "interaction_type": "single_turn",
        "input": {
            "raw": clean_text(asked),
            "formatted": clean_text(entry.prompt),
            "reference": references,
            "choices": options or None,
        },
        "output": {"raw": [raw]},
        "messages": None,
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": carried.heard(entry),
                "extraction_method": "custom",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": value, "is_correct": value >= 1.0},
        "metadata": {
            "shots": str(cell.shots),
            "seed": str(cell.seed),
            "shot_ids": json.dumps(entry.shot_ids),
            "parts": json.dumps(dict(entry.score.parts) if entry.score else {}),
            carried.NAME: carried.pack(entry),
        },
    }
