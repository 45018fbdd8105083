"""Data that the made-up logs are joined with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.foreign.asked import DOCS, IDS, QUESTIONS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """VQAv2's two files, without any picture."""
    folder = tmp_path / "data"
    folder.mkdir()
    asked = [
        {"question_id": id, "image_id": id // 1000, "question": question}
        for id, question in zip(IDS, QUESTIONS, strict=True)
    ]
    answered = [
        {
            "question_id": doc["question_id"],
            "image_id": doc["question_id"] // 1000,
            "question_type": "what",
            "answer_type": "other",
            "answers": [{"answer": answer} for answer in doc["answers"]],
        }
        for doc in DOCS
    ]
    names = "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"
    for name, body in zip(names, ({"questions": asked}, {"annotations": answered}), strict=True):
        (folder / name).write_text(json.dumps(body))
    return folder
