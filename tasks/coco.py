"""COCO captions, Karpathy test split (5,000 pictures), scored with CIDEr-D.

Chen et al., "Microsoft COCO Captions", 2015; Karpathy and Fei-Fei, CVPR 2015; Vedantam et al.,
"CIDEr", CVPR 2015.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.captions import Karpathy
from infimm_eval.demo import rows
from infimm_eval.scorers import caption
from infimm_eval.types import Row, Sample, Source, Task


def sample(row: Row) -> Sample:
    captions = tuple(row["captions"])
    return Sample(
        id=str(row["image_id"]),
        images=(row["image"],),
        target=captions[0].strip(),
        references=captions,
        group=str(row["image_id"]),
        tags={"file": row["filename"]},
    )


TASK = Task(
    name="coco",
    title="COCO",
    version=1,
    source=Source(
        demo=partial(rows.caption_rows, "test"),
        files=(Karpathy(file="dataset_coco.json", split="test"),),
    ),
    shots=Source(
        demo=partial(rows.caption_rows, "train"),
        files=(Karpathy(file="dataset_coco.json", split="train"),),
    ),
    sample=sample,
    wordings=prompts.wordings(prompts.flamingo_caption(), prompts.describe()),
    variants={"CIDEr-D": caption.cider_and_meteor},
    metrics=metrics.captions(),
    headline="CIDEr",
    columns={"COCO CIDEr": "CIDEr"},
)
