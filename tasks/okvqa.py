"""OK-VQA validation: 5,046 questions that need outside knowledge, ten answers by five people.

Marino et al., CVPR 2019.  The published answers are stemmed ("race" for "racing"): ``stemmed``
scores against them and stems the prediction too, as Flamingo and OpenFlamingo do; ``raw`` scores
against what people typed.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data import hubs
from infimm_eval.data.vqa import VqaFiles
from infimm_eval.demo import open_rows
from infimm_eval.formats import lists
from infimm_eval.scorers import vqa
from infimm_eval.types import Row, Sample, Source, Task


def sample(row: Row) -> Sample:
    raw = tuple(row.get("raw_answers") or row["answers"] or ())
    return Sample(
        id=str(row["question_id"]),
        images=(row["image"],),
        question=(row["question"],),
        target=raw[0] if raw else "",
        references=raw,
        group=str(row["image_id"]),
        tags={key: row[key] for key in ("answer_type", "question_type") if row.get(key)},
    )


def _files(split: str) -> VqaFiles:
    return VqaFiles(
        questions=f"OpenEnded_mscoco_{split}_questions.json",
        annotations=f"mscoco_{split}_annotations.json",
        images=f"{split}/COCO_{split}_{{:012d}}.jpg",
    )


TASK = Task(
    name="okvqa",
    title="OK-VQA",
    version=1,
    source=Source(
        demo=partial(open_rows.okvqa_rows, "test"),
        files=(_files("val2014"),),
        hub=hubs.OKVQA_VAL,
    ),
    shots=Source(
        demo=partial(open_rows.okvqa_rows, "train"),
        files=(_files("train2014"),),
        hub=hubs.OKVQA_TRAIN,
    ),
    sample=sample,
    wordings=prompts.wordings(prompts.flamingo_vqa(), prompts.short_answer()),
    variants={"raw": vqa.always, "evalai": vqa.evalai},
    metrics=metrics.mean("accuracy", by=("question_type",)),
    headline="accuracy",
    columns={"OK-VQA acc": "accuracy"},
    submission=lists.vqa("okvqa_val2014_results.json", spoken=vqa.normalise),
)
