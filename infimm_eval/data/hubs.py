"""The table of hub datasets: ids, configs, splits, and how each one's columns become ours.

Ids move.  The first that exists is read; amend them here and nowhere else.  They were read in the
hub's pages and in other harnesses' tables, not loaded.  Knows nothing of how rows are fetched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infimm_eval.data.choices import LETTERS, integer, mmmu_row
from infimm_eval.data.openended import capabilities
from infimm_eval.data.vqa import ten
from infimm_eval.types import Hub, Row


def _moved(name: str) -> tuple[str, ...]:
    """Datasets of lmms-eval: since July 2026 under a new owner."""
    return (f"lmms-lab-encoder/{name}", f"lmms-lab/{name}")


def karpathy(row: Row) -> Row:
    return {
        "image_id": row["cocoid"],
        "filename": row["filename"],
        "captions": list(row["sentences"]),
    }


def coco_picture(row: Row) -> Row:
    return {"filename": row["question_id"], "image": row["image"]}


def flickr30k(row: Row) -> Row:
    return {
        "image": row["image"],
        "image_id": row["filename"].rpartition(".")[0],
        "filename": row["filename"],
        "captions": list(row["caption"]),
    }


def vqa(row: Row) -> Row:
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


def okvqa(row: Row) -> Row:
    """COCO's question ids are the picture's with one digit behind it; the picture's is left out."""
    return {**vqa(row), "image_id": int(row["question_id"]) // 10}


def scienceqa(row: Row) -> Row:
    """The problem's id is left out, so a row is known by its number."""
    return {
        **row,
        "id": str(row["row"]),
        "choices": list(row["choices"]),
        "hint": row["hint"] or "",
    }


def mmbench(row: Row) -> Row:
    """Missing options and hints are the string ``nan`` there."""
    renamed = {name.replace("L2-category", "l2-category"): cell for name, cell in row.items()}
    optional = {"hint", "answer", *LETTERS[2:]}
    kept = {n: c for n, c in renamed.items() if n not in optional or c not in (None, "", "nan")}
    return {**kept, "index": integer(str(row["index"]), "the hub's rows")}


def mmvet(row: Row) -> Row:
    return {**row, "capability": capabilities(row["capability"])}


def _answer(person: Any) -> str:
    return str(person["answer"] if isinstance(person, dict) else person)


COCO_VAL2014 = Hub(repos=_moved("COCO-Caption"), split="val", convert=coco_picture)
"""All 40,504 pictures of val2014."""
COCO_TEST = Hub(
    repos=("yerevann/coco-karpathy",), split="test", convert=karpathy, pictures=COCO_VAL2014
)
COCO_RESTVAL = replace(COCO_TEST, split="restval")
"""Shots for captioning: pictures of val2014 that are in neither test nor validation.  (No Parquet
of train2014 under its official file names was found.)  Never for VQA, whose questions they are."""

FLICKR30K_TEST = Hub(repos=("umaru97/flickr30k_train_val_test",), split="test", convert=flickr30k)
"""Karpathy's 1,000; the better known ``lmms-lab/flickr30k`` is all 31,783 in one split."""
FLICKR30K_TRAIN = replace(FLICKR30K_TEST, split="train")

VQAV2_VAL = Hub(repos=_moved("VQAv2"), split="validation", convert=vqa)
VQAV2_TEST = replace(VQAV2_VAL, split="test")
VQAV2_TESTDEV = replace(VQAV2_VAL, split="testdev")
VQAV2_TRAIN = Hub(repos=("Multimodal-Fatima/VQAv2_train",), split="train", convert=vqa)

OKVQA_VAL = Hub(repos=_moved("OK-VQA"), split="val2014", convert=okvqa)
OKVQA_TRAIN = Hub(repos=("Multimodal-Fatima/OK-VQA_train",), split="train", convert=vqa)

TEXTVQA_VAL = Hub(repos=_moved("textvqa"), split="validation", convert=vqa)
TEXTVQA_TRAIN = replace(TEXTVQA_VAL, split="train")
TEXTVQA_TEST = replace(TEXTVQA_VAL, split="test")

VIZWIZ_VAL = Hub(repos=_moved("VizWiz-VQA"), split="val", convert=vqa)
VIZWIZ_TEST = replace(VIZWIZ_VAL, split="test")

SCIENCEQA_IMG = Hub(
    repos=_moved("ScienceQA"), config="ScienceQA-IMG", split="test", convert=scienceqa
)
SCIENCEQA_IMG_TRAIN = replace(SCIENCEQA_IMG, split="train")
SCIENCEQA_FULL = replace(SCIENCEQA_IMG, config="ScienceQA-FULL")

MME = Hub(repos=_moved("MME"), split="test")

MMBENCH_DEV = Hub(repos=_moved("MMBench"), config="en", split="dev", convert=mmbench)
MMBENCH_TEST = replace(MMBENCH_DEV, split="test")

MMMU_VAL = Hub(repos=_moved("MMMU"), split="validation", convert=mmmu_row)
MMMU_DEV = replace(MMMU_VAL, split="dev")
MMMU_TEST = replace(MMMU_VAL, split="test")

MMVET = Hub(repos=_moved("MMVet"), split="test", convert=mmvet)
