"""Logs that Inspect's viewer and reader open: a ``.eval`` archive a cell.

The archive is deflated, which every version reads, and written a sample at a time.  Pictures are
named and not enclosed.  Knows no benchmark.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from shlex import quote
from statistics import fmean, stdev
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.logs.publish import carried
from infimm_eval.logs.publish.clean import clean_settings, clean_text
from infimm_eval.logs.publish.published import Published, label, model_name, scorer
from infimm_eval.logs.store import Log
from infimm_eval.logs.values import Cell, Entry, fingerprint


def inspect(log: Log, output: Path) -> Published:
    """One archive a cell, named so that Inspect lists it."""
    now = datetime.now(UTC)
    output.mkdir(parents=True, exist_ok=True)
    files = tuple(_write(log, cell, output, now) for cell in log.shown())
    if not files:
        raise UsageError(f"{log.folder} has no figure to publish")
    return Published(files=files, command=f"inspect view start --log-dir {quote(str(output))}")


def _write(log: Log, cell: Cell, output: Path, now: datetime) -> Path:
    task = "-".join("".join(m if m.isalnum() else " " for m in label(cell)).split())
    id = fingerprint([cell.key.name, "inspect"], 22)
    path = output / f"{now:%Y-%m-%dT%H-%M-%S}-00-00_{task}_{id}.eval"
    rule = str(scorer(cell).get("name") or cell.headline)
    summaries, values = [], []
    draft = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        spec = _spec(cell, rule, id, now)
        plan = {"name": "plan", "steps": [], "config": {}}
        start = {"version": 2, "eval": spec, "plan": plan}
        _member(archive, "_journal/start.json", start)
        for entry in log.entries(cell.key):
            sample = _sample(cell, entry, rule)
            _member(archive, f"samples/{sample['id']}_epoch_1.json", sample)
            summaries.append(_summary(sample))
            values += [score["value"] for score in sample["scores"].values()]
        _member(archive, "summaries.json", summaries)
        spec = {**spec, "dataset": {**spec["dataset"], "samples": len(summaries)}}
        _member(archive, "header.json", {
            **start,
            "eval": spec,
            "status": "success" if cell.finished else "error",
            "results": _results(cell, rule, values, len(summaries)),
            "stats": {"started_at": now.isoformat(), "completed_at": now.isoformat()},
        })  # fmt: skip
    draft.replace(path)
    return path


def _member(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    archive.writestr(name, text.encode("utf-8", "replace"))


def _spec(cell: Cell, rule: str, id: str, now: datetime) -> dict[str, Any]:
    protocol = cell.settings.get("protocol", {})
    decoding = protocol.get("decoding") or {}
    return {
        "task": cell.task,
        "task_id": id,
        "task_version": protocol.get("task_version", 0),
        "created": now.isoformat(timespec="seconds"),
        "dataset": {"name": cell.title, "shuffled": False},
        "model": model_name(cell),
        "model_generate_config": {
            "temperature": decoding.get("temperature"),
            "max_tokens": decoding.get("max_new_tokens"),
        },
        "config": {} if cell.limit is None else {"limit": cell.limit},
        "metadata": {
            "shots": cell.shots,
            "seed": cell.seed,
            "headline": cell.headline,
            "control": cell.control,
            "support": cell.support,
            "value": cell.value,
            "ci95": list(cell.ci95) if cell.ci95 else None,
            "protocol": clean_settings(protocol),
        },
        "packages": {"infimm_eval": str(cell.settings.get("code", {}).get("infimm_eval"))},
        "tags": ["infimm_eval"],
        "scorers": [{"name": rule, "metrics": [{"name": "mean"}, {"name": "stderr"}]}],
    }


def _results(cell: Cell, rule: str, values: list[float], total: int) -> dict[str, Any]:
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
    means = {"mean": fmean(values) if values else 0.0, "stderr": error}
    if cell.value is not None:
        means[cell.headline] = cell.value
    return {
        "total_samples": total,
        "completed_samples": total - cell.unanswered,
        "scores": [
            {
                "name": rule,
                "scorer": rule,
                "scored_samples": len(values),
                "unscored_samples": total - len(values),
                "metrics": {name: {"name": name, "value": value} for name, value in means.items()},
            }
        ],
    }


def _sample(cell: Cell, entry: Entry, rule: str) -> dict[str, Any]:
    said = clean_text(entry.answer.text) if entry.answer else ""
    question = "".join(
        part if isinstance(part, str) else f"[picture: {part.name}]"
        for part in (*entry.sample.images, *entry.sample.question)
    )
    options = ["".join(p for p in o if isinstance(p, str)) for o in entry.sample.options]
    asked = {"role": "user", "content": clean_text(entry.prompt)}
    replied = {"role": "assistant", "content": said}
    return {
        "id": entry.sample.id,
        "epoch": 1,
        "input": clean_text(question),
        "choices": [clean_text(option) for option in options] or None,
        "target": [clean_text(reference) for reference in entry.sample.references],
        "messages": [asked, replied],
        "output": {
            "model": model_name(cell),
            "choices": [{"message": replied, "stop_reason": _stopped(entry)}],
            "completion": said,
        },
        "scores": dict(_scores(entry, rule)),
        "metadata": {
            "shots": cell.shots,
            "seed": cell.seed,
            "shot_ids": list(entry.shot_ids),
            carried.NAME: carried.pack(entry),
        },
    }


def _stopped(entry: Entry) -> str:
    return {"length": "max_tokens", "error": "unknown"}.get(
        entry.answer.finish if entry.answer else "error", "stop"
    )


def _scores(entry: Entry, rule: str) -> Iterator[tuple[str, dict[str, Any]]]:
    score = entry.score
    if score is not None and score.value is not None:
        yield (
            rule,
            {
                "value": score.value,
                "answer": carried.heard(entry),
                "explanation": "" if score.parsed else "no answer was found in the text",
                "metadata": dict(score.parts),
            },
        )


def _summary(sample: dict[str, Any]) -> dict[str, Any]:
    return {name: sample[name] for name in ("id", "epoch", "input", "target", "scores")} | {
        "metadata": {"shots": sample["metadata"]["shots"]},
        "completed": True,
    }
