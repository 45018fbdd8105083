"""TextVQA validation: 5,000 questions about text in pictures, ten answers each.

Singh et al., "Towards VQA Models That Can Read", CVPR 2019.  The default scorer is EvalAI's.  OCR
tokens stand in the prompt under ``--ocr`` only: they are worth tens of points.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from infimm_eval import formats, metrics, prompts
from infimm_eval.demo import open_rows
from infimm_eval.scorers import vqa
from infimm_eval.submissions import foreign, lists
from infimm_eval.types import Content, Foreign, ForeignRecord, Row, Sample, Source, Split, Task

from . import files


def sample(row: Row) -> Sample:
    """One row as a sample."""
    people = tuple(row["answers"] or ())
    return Sample(
        id=str(row["question_id"]),
        images=(row["image"],),
        question=(row["question"],),
        target=people[0].strip() if people else "",
        references=people,
        group=str(row["image_id"]),
        tags={"ocr": ", ".join(row.get("ocr_tokens") or ())},
    )


def _picture_and_question(record: ForeignRecord) -> tuple[str, str]:
    """LLaVA's ``question_id`` is the picture's; its own script tells questions by their text."""
    return record.id, foreign.asked(record.prompt).lower()


def _spoken(question: Content) -> str:
    return "".join(part for part in question if isinstance(part, str)).lower()


_LLAVA = Foreign(
    names=("textvqa*", "llava_textvqa*"),
    key=_picture_and_question,
    sample_key=lambda sample: (sample.group, _spoken(sample.question)),
)
_DEMO = partial(open_rows.textvqa_rows, "test")

TASK = Task(
    name="textvqa",
    title="TextVQA",
    version=1,
    source=Source(
        demo=_DEMO,
        files=(files.TextVqa(file="TextVQA_0.5.1_val.json"),),
        hub=files.VAL,
        size=5_000,
    ),
    shots=Source(
        demo=partial(open_rows.textvqa_rows, "train"),
        files=(files.TextVqa(file="TextVQA_0.5.1_train.json"),),
        hub=files.TRAIN,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(10), prompts.short_answer()),
    kind="short answer",
    formats={
        family.name: family.longer("short answer", 10)
        for family in (formats.OPENFLAMINGO, formats.OPENFLAMINGO_2023_06, formats.OTTER)
    },
    scorers=(vqa.evalai, vqa.always, vqa.official),
    metrics=metrics.mean("accuracy"),
    headline="accuracy",
    ocr=True,
    columns={"TextVQA acc": "accuracy"},
    submission=lists.vqa("textvqa_val_results.json"),
    foreign={
        "": foreign.PEOPLE,
        "lmms-eval": Foreign(
            names=("textvqa_val*",),
            key=foreign.field_of("question_id", "submission"),
            value=("exact_match",),
            scale=100.0,
        ),
        "VLMEvalKit": Foreign(
            names=("textvqa_val",),
            sample=foreign.people,
            value=("eval_score",),
            figure=("Overall",),
        ),
        "LLaVA": _LLAVA,
        "VILA": replace(_LLAVA, figure=("accuracy",), scale=100.0),
    },
    splits={
        "test": Split(
            source=Source(
                demo=_DEMO,
                files=(files.TextVqa(file="TextVQA_0.5.1_test.json", images="test_images"),),
                hub=files.TEST,
                size=5_734,
            ),
            title="TextVQA test",
            withheld=True,
            filename="textvqa_test_results.json",
        )
    },
)
