"""Fast open-ended MiniImageNet: pictures under made-up names that only the examples explain.

Zong et al., "VL-ICL Bench", ICLR 2025.  https://github.com/ys-zong/VL-ICL
"""

from __future__ import annotations

from infimm_eval import metrics, prompts
from infimm_eval.data.vl_icl import VlIcl, shown_of_classes
from infimm_eval.demo import induction_rows
from infimm_eval.scorers import vl_icl
from infimm_eval.shots import rules
from infimm_eval.types import Row, Sample, Source, Task


def sample(row: Row) -> Sample:
    """One row as a sample, of a query or of an example that one brings."""
    return Sample(
        id=row["id"],
        images=row["images"],
        question=(row["question"],),
        target=row["answer"],
        references=(row["answer"],),
        group="" if "query" in row else row["images"][0].name,
        tags={"query": row["query"]} if "query" in row else {},
    )


TASK = Task(
    name="open_mi",
    title="Fast Open MiniImageNet",
    version=1,
    source=Source(
        demo=induction_rows.open_mi_rows,
        files=(VlIcl(task="open_mi", part="query"),),
    ),
    shots=Source(
        demo=induction_rows.open_mi_examples,
        files=(VlIcl(task="open_mi", part="query", rows_of=shown_of_classes),),
    ),
    support=rules.by_class,
    sample=sample,
    templates=prompts.vl_icl(),
    scorers=(vl_icl.exact,),
    metrics=metrics.mean("accuracy"),
    headline="accuracy",
)
