"""What datasets of the hub share: the owners they moved between, the columns of the VQA family.

Each benchmark's own ids, configs and splits stand with it (a ``Hub`` in its files).  Knows nothing
of how rows are fetched.
"""

from __future__ import annotations

from typing import Any

from infimm_eval.data.vqa import ten
from infimm_eval.types import Row


def lmms_lab(name: str) -> tuple[str, ...]:
    """Datasets of lmms-eval: since July 2026 under a new owner."""
    return (f"lmms-lab-encoder/{name}", f"lmms-lab/{name}")


def vqa_row(row: Row) -> Row:
    """VQAv2, OK-VQA, TextVQA and VizWiz: answers are strings, or the annotators' records."""
    told = row.get("answers_original") or row["answers"]
    question_id = row["question_id"]
    answers = [_answer(person) for person in told or ()]
    converted = {
        "image": row["image"],
        "image_id": row.get("image_id", row.get("id_image", question_id)),
        "question_id": question_id,
        "question": row["question"],
        # Withheld answers are null, or an empty list, or empty strings.
        "answers": ten(answers, "the hub's rows", question_id) if any(answers) else None,
        "question_type": row.get("question_type"),
        "answer_type": row.get("answer_type") or row.get("category"),
    }
    if told and isinstance(told[0], dict) and told[0].get("raw_answer") is not None:
        converted["raw_answers"] = [person["raw_answer"] for person in told]
    if "ocr_tokens" in row:
        converted["ocr_tokens"] = list(row["ocr_tokens"] or [])
    return converted


def _answer(person: Any) -> str:
    return str(person["answer"] if isinstance(person, dict) else person)
