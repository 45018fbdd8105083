"""OK-VQA validation: 5,046 questions that need outside knowledge, ten answers by five people.

Marino et al., CVPR 2019.  Each published answer is there as typed and stemmed ("race" for
"racing").  ``raw`` scores against what people typed, ``published`` against the stems with the
prediction as it is (the VQA script on the annotations file), ``stemmed`` against the stems with
the prediction stemmed too, as Flamingo and OpenFlamingo do (needs NLTK and its data).
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.hub_datasets import lmms_lab, vqa_row
from infimm_eval.data.vqa import VqaFiles
from infimm_eval.demo import open_rows
from infimm_eval.scorers import vqa
from infimm_eval.submissions import foreign, lists
from infimm_eval.types import Foreign, ForeignRecord, Hub, Row, Sample, Source, Task

from . import scorers


def sample(row: Row) -> Sample:
    """One row as a sample."""
    stems = tuple(row["answers"] or ())
    raw = tuple(row.get("raw_answers") or stems)
    return Sample(
        id=str(row["question_id"]),
        images=(row["image"],),
        question=(row["question"],),
        target=raw[0] if raw else "",
        references=raw,
        group=str(row["image_id"]),
        tags={key: row[key] for key in ("answer_type", "question_type") if row.get(key)}
        | ({"stems": "\n".join(stems)} if row.get("raw_answers") else {}),
    )


def _published(row: Row) -> Row:
    """COCO's question ids are the picture's with one digit behind it; the picture's is left out."""
    return {**vqa_row(row), "image_id": int(row["question_id"]) // 10}


def _question(record: ForeignRecord) -> str:
    """lmms-eval's submission calls the question a picture: ``2971475.jpg``."""
    return str(foreign.inside(record, "submission").get("image", "")).removesuffix(".jpg")


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
        hub=Hub(repos=lmms_lab("OK-VQA"), split="val2014", convert=_published),
        size=5_046,
    ),
    shots=Source(
        demo=partial(open_rows.okvqa_rows, "train"),
        files=(_files("train2014"),),
        hub=Hub(repos=("Multimodal-Fatima/OK-VQA_train",), split="train", convert=vqa_row),
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    kind="short answer",
    scorers=(scorers.raw, vqa.evalai, scorers.published, scorers.stemmed),
    metrics=metrics.mean("accuracy", by=("question_type",)),
    headline="accuracy",
    columns={"OK-VQA acc": "accuracy"},
    submission=lists.vqa("okvqa_val2014_results.json", spoken=vqa.normalise),
    foreign={
        "": foreign.PEOPLE,
        "lmms-eval": Foreign(
            names=("ok_vqa_val2014*", "ok_vqa"),
            key=_question,
            value=("exact_match",),
            scale=100.0,
        ),
    },
)
