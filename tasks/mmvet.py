"""MM-Vet: 218 open questions that mix six capabilities, graded from 0 to 1 by a judge.  Zero-shot.

Yu et al., ICML 2024.  https://github.com/yuweihao/MM-Vet
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data import hubs
from infimm_eval.data.openended import MmVet, MmVetTsv
from infimm_eval.demo import judged_rows
from infimm_eval.formats import answers
from infimm_eval.scorers import judge
from infimm_eval.types import Row, Sample, Source, Task


def sample(row: Row) -> Sample:
    return Sample(
        id=row["question_id"],
        images=(row["image"],),
        question=(row["question"],),
        target=row["answer"],
        references=(row["answer"],),
        group=row["image"].name,
        tags={"capability": ",".join(row["capability"])},
    )


TASK = Task(
    name="mmvet",
    title="MM-Vet",
    version=1,
    source=Source(
        demo=partial(judged_rows.mmvet_rows, "test"),
        files=(MmVet(), MmVetTsv()),
        hub=hubs.MMVET,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(20), prompts.free_answer()),
    scorers=(judge.mm_vet(),),
    metrics=metrics.mmvet(),
    headline="total",
    columns={"MM-Vet": "total"},
    submission=answers.dictionary(
        "mmvet.json", references=answers.mmvet_questions, grades=answers.grades
    ),
)
