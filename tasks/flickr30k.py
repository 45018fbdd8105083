"""Flickr30k captions, Karpathy test split (1,000 pictures, five references each), CIDEr-D.

Young et al., TACL 2014; Karpathy and Fei-Fei, CVPR 2015.  Never the 31,783 pictures of the whole
set: their figures are not comparable.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data import hubs
from infimm_eval.data.captions import Karpathy
from infimm_eval.demo import open_rows
from infimm_eval.formats import lists
from infimm_eval.scorers import caption
from infimm_eval.types import Row, Sample, Source, Task

_FILE, _IMAGES = "dataset_flickr30k.json", "flickr30k-images"


def sample(row: Row) -> Sample:
    captions = tuple(row["captions"])
    return Sample(
        id=str(row["image_id"]),
        images=(row["image"],),
        target=captions[0].strip(),
        references=captions,
        group=str(row["image_id"]),
    )


TASK = Task(
    name="flickr30k",
    title="Flickr30k",
    version=1,
    source=Source(
        demo=partial(open_rows.flickr30k_rows, "test"),
        files=(Karpathy(file=_FILE, split="test", images=_IMAGES),),
        hub=hubs.FLICKR30K_TEST,
    ),
    shots=Source(
        demo=partial(open_rows.flickr30k_rows, "train"),
        files=(Karpathy(file=_FILE, split="train", images=_IMAGES),),
        hub=hubs.FLICKR30K_TRAIN,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_caption(), prompts.describe()),
    scorers=(caption.cider_and_meteor,),
    metrics=metrics.captions(),
    headline="CIDEr",
    columns={"Flickr30k CIDEr": "CIDEr"},
    submission=lists.captions("flickr30k_results.json", size=1000),
)
