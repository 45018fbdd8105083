"""Small official files, and how a file of predictions is scored in a test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from infimm_eval import registry
from infimm_eval.run.score_file import How, Result, score_file
from infimm_eval.scorers import caption
from infimm_eval.types import Task


def put(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def quick(name: str) -> Task:
    """Captions without METEOR, which takes ten seconds to start."""
    task = registry.load(name)
    if task.scorers[0].name != "CIDEr-D":
        return task
    return replace(task, scorers=(caption.cider,))


def score(
    name: str,
    predictions: Path,
    references: Path | None = None,
    scorer: str | None = None,
    **how: Any,
) -> Result:
    return score_file(quick(name), predictions, references, How(scorer=scorer, **how))


def vqa_files(folder: Path, *said: int) -> tuple[Path, Path]:
    rows = [
        {"question_id": n, "image_id": n, "answers": [{"answer": "yes", "answer_id": 1}] * 10}
        for n in (1, 2)
    ]
    return (
        put(folder / "said.json", [{"question_id": n, "answer": "yes"} for n in said]),
        put(folder / "annotations.json", {"annotations": rows}),
    )
