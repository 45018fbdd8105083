"""TextOCR: the text in the red box; that it is wanted, only examples tell.

Zong et al., "VL-ICL Bench", ICLR 2025.  https://github.com/ys-zong/VL-ICL
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.vl_icl import VlIcl
from infimm_eval.demo import induction_rows
from infimm_eval.scorers import vl_icl
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
    )


TASK = Task(
    name="textocr",
    title="TextOCR",
    version=1,
    source=Source(
        demo=partial(induction_rows.textocr_rows, "test"),
        files=(VlIcl(task="textocr", part="query"),),
    ),
    shots=Source(
        demo=partial(induction_rows.textocr_rows, "train"),
        files=(VlIcl(task="textocr", part="support"),),
    ),
    sample=sample,
    templates=prompts.vl_icl(),
    scorers=(vl_icl.exact,),
    metrics=metrics.mean("accuracy"),
    headline="accuracy",
)
