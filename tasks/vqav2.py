"""VQAv2 validation: 214,354 open questions about COCO photographs, ten human answers each.

Goyal et al., "Making the V in VQA Matter", CVPR 2017.  https://visualqa.org
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.hub_datasets import lmms_lab, vqa_row
from infimm_eval.data.vqa import VqaFiles
from infimm_eval.demo import rows
from infimm_eval.scorers import vqa
from infimm_eval.submissions import foreign, lists
from infimm_eval.types import Foreign, Hub, Row, Sample, Source, Split, Task


def sample(row: Row) -> Sample:
    """One row as a sample."""
    people = tuple(row["answers"] or ())
    return Sample(
        id=str(row["question_id"]),
        images=(row["image"],),
        question=(row["question"],),
        target=people[0] if people else "",
        references=people,
        group=str(row["image_id"]),
        tags={key: row[key] for key in ("answer_type", "question_type") if row.get(key)},
    )


def _test(split: str, hub: Hub, size: int) -> Split:
    questions = f"v2_OpenEnded_mscoco_{split}_questions.json"
    pictures = "test2015/COCO_test2015_{:012d}.jpg"
    return Split(
        source=Source(
            demo=_DEMO,
            files=(VqaFiles(questions=questions, annotations=None, images=pictures),),
            hub=hub,
            size=size,
        ),
        title=f"VQAv2 {split}",
        withheld=True,
        submission=lists.vqa(
            f"v2_OpenEnded_mscoco_{split}_infimm_results.json",
            spoken=vqa.normalise,
            refused=_WHOLE_OF_TEST if split.startswith("test-dev") else "",
        ),
    )


_WHOLE_OF_TEST = (
    "the server wants all of test2015, also for its test-dev figure; run and submit vqav2:test2015"
)
_DEMO = partial(rows.vqa_rows, "test")
_VAL = Hub(repos=lmms_lab("VQAv2"), split="validation", convert=vqa_row)
_TRAIN = Hub(repos=("Multimodal-Fatima/VQAv2_train",), split="train", convert=vqa_row)

TASK = Task(
    name="vqav2",
    title="VQAv2",
    version=1,
    source=Source(
        demo=_DEMO,
        files=(
            VqaFiles(
                questions="v2_OpenEnded_mscoco_val2014_questions.json",
                annotations="v2_mscoco_val2014_annotations.json",
                images="val2014/COCO_val2014_{:012d}.jpg",
            ),
        ),
        hub=_VAL,
        size=214_354,
    ),
    shots=Source(
        demo=partial(rows.vqa_rows, "train"),
        files=(
            VqaFiles(
                questions="v2_OpenEnded_mscoco_train2014_questions.json",
                annotations="v2_mscoco_train2014_annotations.json",
                images="train2014/COCO_train2014_{:012d}.jpg",
            ),
        ),
        hub=_TRAIN,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer()),
    kind="short answer",
    scorers=(vqa.always, vqa.official, vqa.evalai),
    metrics=metrics.mean("accuracy", by=("answer_type", "question_type")),
    headline="accuracy",
    columns={"VQAv2 acc": "accuracy"},
    submission=lists.vqa("v2_OpenEnded_mscoco_val2014_infimm_results.json", spoken=vqa.normalise),
    foreign={
        "": foreign.PEOPLE,
        "lmms-eval": foreign.rows_only(
            "vqav2_val*", sample=foreign.people, value=("exact_match",), scale=100.0
        ),
        "LLaVA": Foreign(names=("vqav2*", "llava_vqav2*")),
    },
    splits={
        "test2015": _test("test2015", replace(_VAL, split="test"), 447_793),
        "test-dev2015": _test("test-dev2015", replace(_VAL, split="testdev"), 107_394),
    },
)
