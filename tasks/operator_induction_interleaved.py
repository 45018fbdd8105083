"""Interleaved operator induction: a picture for each number; only examples tell what is done.

Zong et al., "VL-ICL Bench", ICLR 2025.  https://github.com/ys-zong/VL-ICL
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.vl_icl import VlIcl, one_answer_each
from infimm_eval.demo import induction_rows
from infimm_eval.scorers import vl_icl
from infimm_eval.shots import rules
from infimm_eval.types import Row, Sample, Source, Task


def sample(row: Row) -> Sample:
    """One row as a sample."""
    return Sample(
        id=row["id"],
        images=row["images"],
        question=(row["question"],),
        target=row["answer"],
        references=(row["answer"],),
        group=row["images"][0].name,
        tags={key: row[key] for key in ("operator", "+", "-", "x") if key in row},
    )


TASK = Task(
    name="operator_induction_interleaved",
    title="Interleaved Operator Induction",
    version=1,
    source=Source(
        demo=partial(induction_rows.interleaved_rows, "test"),
        files=(VlIcl(task="operator_induction_interleaved", part="query"),),
    ),
    shots=Source(
        demo=partial(induction_rows.interleaved_rows, "train"),
        files=(
            VlIcl(task="operator_induction_interleaved", part="support", rows_of=one_answer_each),
        ),
    ),
    support=rules.by_operator,
    sample=sample,
    templates=prompts.vl_icl(),
    scorers=(vl_icl.first_number,),
    metrics=metrics.mean("accuracy"),
    headline="accuracy",
)
