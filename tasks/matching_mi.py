"""Fast matching MiniImageNet: whether two pictures go together, as the examples mean it.

Zong et al., "VL-ICL Bench", ICLR 2025.  https://github.com/ys-zong/VL-ICL
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.vl_icl import VlIcl, same_and_different
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
        tags={key: row[key] for key in ("pair", "kind") if key in row},
    )


TASK = Task(
    name="matching_mi",
    title="Fast Matching MiniImageNet",
    version=1,
    source=Source(
        demo=partial(induction_rows.matching_mi_rows, "test"),
        files=(VlIcl(task="matching_mi", part="query"),),
    ),
    shots=Source(
        demo=partial(induction_rows.matching_mi_rows, "train"),
        files=(VlIcl(task="matching_mi", part="support", rows_of=same_and_different),),
    ),
    support=rules.in_pairs,
    sample=sample,
    templates=prompts.vl_icl(),
    scorers=(vl_icl.yes_no,),
    metrics=metrics.mean("accuracy"),
    headline="accuracy",
)
