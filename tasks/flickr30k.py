"""Flickr30k captions, Karpathy test split (1,000 pictures, five references each), CIDEr-D.

Young et al., TACL 2014; Karpathy and Fei-Fei, CVPR 2015.  Never the 31,783 pictures of the whole
set: their figures are not comparable.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from infimm_eval import formats, metrics, prompts
from infimm_eval.data.captions import Karpathy
from infimm_eval.demo import open_rows
from infimm_eval.scorers import caption
from infimm_eval.submissions import lists
from infimm_eval.types import Hub, Row, Sample, Source, Task

_FILE, _IMAGES = "dataset_flickr30k.json", "flickr30k-images"


def sample(row: Row) -> Sample:
    """One row as a sample."""
    captions = tuple(row["captions"])
    return Sample(
        id=str(row["image_id"]),
        images=(row["image"],),
        target=captions[0].strip(),
        references=captions,
        group=str(row["image_id"]),
    )


def _published(row: Row) -> Row:
    return {
        "image": row["image"],
        "image_id": row["filename"].rpartition(".")[0],
        "filename": row["filename"],
        "captions": list(row["caption"]),
    }


_TEST = Hub(repos=("umaru97/flickr30k_train_val_test",), split="test", convert=_published)
"""Karpathy's 1,000; the better known ``lmms-lab/flickr30k`` is all 31,783 in one split."""

TASK = Task(
    name="flickr30k",
    title="Flickr30k",
    version=1,
    source=Source(
        demo=partial(open_rows.flickr30k_rows, "test"),
        files=(Karpathy(file=_FILE, split="test", images=_IMAGES),),
        hub=_TEST,
        size=1_000,
    ),
    shots=Source(
        demo=partial(open_rows.flickr30k_rows, "train"),
        files=(Karpathy(file=_FILE, split="train", images=_IMAGES),),
        hub=replace(_TEST, split="train"),
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_caption(), prompts.describe()),
    kind="caption",
    formats={"otter": formats.OTTER.longer("caption", 128)},
    scorers=(caption.cider_and_meteor, caption.untokenised),
    metrics=metrics.captions(),
    headline="CIDEr",
    columns={"Flickr30k CIDEr": "CIDEr"},
    submission=lists.captions("flickr30k_results.json", size=1000),
)
