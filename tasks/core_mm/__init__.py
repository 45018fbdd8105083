"""InfiMM-Eval (Core-MM): 279 open questions that take reasoning, over 342 pictures.  Zero-shot.

Han et al., arXiv:2311.11567.  Right answers are private: without them a run writes the file that
the authors grade; with them (``core-mm-answers.json``) it is graded by a judge, and self-graded.
Hard questions weigh twice.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import prompts
from infimm_eval.demo import judged_rows
from infimm_eval.submissions import answers
from infimm_eval.types import Row, Sample, Source, Task

from .files import CoreMm
from .metrics import overall
from .scorers import self_graded
from .submission import questions


def sample(row: Row) -> Sample:
    """One row as a sample."""
    answer = row.get("answer")
    return Sample(
        id=str(row["id"]),
        images=tuple(row["images"]),
        question=(row["question"],),
        target=answer or "",
        references=(answer,) if answer else (),
        group=row["images"][0].name,
        tags={"category": row["category"], "complexity": row["complexity"]},
    )


TASK = Task(
    name="core_mm",
    title="InfiMM-Eval",
    version=1,
    source=Source(demo=partial(judged_rows.core_mm_rows, "test"), files=(CoreMm(),), size=279),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_vqa(20), prompts.free_answer()),
    kind="free answer",
    scorers=(self_graded,),
    metrics=overall,
    headline="overall",
    columns={"InfiMM-Eval": "overall"},
    submission=answers.dictionary("infimm_eval.json", references=questions, grades=answers.grades),
)
