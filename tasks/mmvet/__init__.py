"""MM-Vet: 218 open questions that mix six capabilities, graded from 0 to 1 by a judge.  Zero-shot.

Yu et al., ICML 2024.  https://github.com/yuweihao/MM-Vet
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from infimm_eval import prompts
from infimm_eval.data.reading import whole_number
from infimm_eval.demo import judged_rows
from infimm_eval.submissions import answers, foreign
from infimm_eval.types import Foreign, ForeignRecord, Row, Sample, Source, Task

from . import files
from .metrics import total
from .scorers import graded
from .submission import questions


def sample(row: Row) -> Sample:
    """One row as a sample."""
    return Sample(
        id=row["question_id"],
        images=(row["image"],),
        question=(row["question"],),
        target=row["answer"],
        references=(row["answer"],),
        group=row["image"].name,
        tags={"capability": ",".join(row["capability"])},
    )


def _from(first: int) -> Callable[[ForeignRecord], str]:
    """VLMEvalKit counts questions from 1, LLaVA from 0."""

    def key(record: ForeignRecord) -> str:
        number = whole_number(record.id)
        return record.id if number is None else f"v1_{number - first}"

    return key


TASK = Task(
    name="mmvet",
    title="MM-Vet",
    version=1,
    source=Source(
        demo=partial(judged_rows.mmvet_rows, "test"),
        files=(files.MmVet(), files.MmVetTsv()),
        hub=files.TEST,
        size=218,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(20), prompts.free_answer()),
    kind="free answer",
    scorers=(graded(),),
    metrics=total,
    headline="total",
    columns={"MM-Vet": "total"},
    submission=answers.dictionary("mmvet.json", references=questions, grades=answers.grades),
    foreign={
        "lmms-eval": Foreign(
            names=("mmvet*",), key=foreign.field_of("question_id", "gpt_eval_score")
        ),
        "VLMEvalKit": Foreign(names=("mmvet",), key=_from(1)),
        "LLaVA": Foreign(names=("mm-vet*", "mmvet*", "llava_mmvet*"), key=_from(0)),
    },
)
