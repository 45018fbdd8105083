"""VizWiz-VQA validation: questions that blind people asked about their own photographs.

Gurari et al., CVPR 2018.  Annotators are told apart by position, for their answers carry no id.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import formats, metrics, prompts
from infimm_eval.demo import open_rows
from infimm_eval.scorers import vqa
from infimm_eval.submissions import foreign, lists
from infimm_eval.types import Foreign, ForeignRecord, Row, Sample, Source, Task

from . import files

_UNANSWERABLE = (
    "When the provided information is insufficient, respond with 'Unanswerable'. "
    + prompts.SHORT_ANSWER
)
_IDEFICS = (
    "Task: Answer the questions based on the image when possible, otherwise say unanswerable."
)


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
        tags={"answer_type": row["answer_type"]} if row.get("answer_type") else {},
    )


def _picture(record: ForeignRecord) -> str:
    """lmms-eval's submission doubles the ending of a picture's name."""
    name = str(foreign.inside(record, "submission").get("image", ""))
    return name.removesuffix(".jpg") if name.endswith(".jpg.jpg") else name


TASK = Task(
    name="vizwiz",
    title="VizWiz",
    version=1,
    source=Source(
        demo=partial(open_rows.vizwiz_rows, "test"),
        files=(files.VizWiz(file="val.json", images="val"),),
        hub=files.VAL,
        size=4_319,
    ),
    shots=Source(
        demo=partial(open_rows.vizwiz_rows, "train"),
        files=(files.VizWiz(file="train.json", images="train"),),
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(), prompts.short_answer(suffix=_UNANSWERABLE)),
    kind="short answer",
    formats={"idefics": {"completion": formats.idefics_vqa(_IDEFICS)}},
    scorers=(vqa.always, vqa.official, vqa.evalai),
    metrics=metrics.mean("accuracy", by=("answer_type",)),
    headline="accuracy",
    columns={"VizWiz acc": "accuracy"},
    submission=lists.vqa("vizwiz_val_results.json", numeric=False, key="image"),
    foreign={
        "": foreign.PEOPLE,
        "lmms-eval": Foreign(
            names=("vizwiz_vqa_val*",), key=_picture, value=("exact_match",), scale=100.0
        ),
    },
)
