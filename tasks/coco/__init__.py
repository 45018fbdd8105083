"""COCO captions, Karpathy test split (5,000 pictures), scored with CIDEr-D.

Chen et al., "Microsoft COCO Captions", 2015; Karpathy and Fei-Fei, CVPR 2015; Vedantam et al.,
"CIDEr", CVPR 2015.  ``coco:val2014`` and ``coco:test2014`` are the sets that the server wants.
"""

from __future__ import annotations

from functools import partial

from infimm_eval import metrics, prompts
from infimm_eval.data.captions import Karpathy
from infimm_eval.demo import rows
from infimm_eval.scorers import caption
from infimm_eval.submissions import foreign, lists
from infimm_eval.types import Foreign, ForeignRecord, Row, Sample, Source, Split, Task

from . import files


def sample(row: Row) -> Sample:
    """One row as a sample."""
    captions = tuple(row.get("captions") or ())
    return Sample(
        id=str(row["image_id"]),
        images=(row["image"],),
        target=captions[0].strip() if captions else "",
        references=captions,
        group=str(row["image_id"]),
    )


def _captioned(record: ForeignRecord) -> Sample | None:
    """A picture's captions stand in the dictionary of lmms-eval's metric."""
    held = foreign.inside(record, "coco_CIDEr")
    said = held.get("answer")
    if not isinstance(said, list) or "image_id" not in held:
        return None
    image = str(held["image_id"])
    return Sample(id=image, references=tuple(map(str, said)), group=image)


_DEMO = partial(rows.caption_rows, "test")

TASK = Task(
    name="coco",
    title="COCO",
    version=1,
    source=Source(
        demo=_DEMO,
        files=(Karpathy(file="dataset_coco.json", split="test"),),
        hub=files.KARPATHY_TEST,
        size=5_000,
    ),
    shots=Source(
        demo=partial(rows.caption_rows, "train"),
        files=(Karpathy(file="dataset_coco.json", split="train"),),
        hub=files.KARPATHY_RESTVAL,
    ),
    sample=sample,
    templates=prompts.templates(prompts.flamingo_caption(), prompts.describe()),
    kind="caption",
    scorers=(caption.cider_and_meteor, caption.untokenised),
    metrics=metrics.captions(),
    headline="CIDEr",
    columns={"COCO CIDEr": "CIDEr"},
    submission=lists.captions("coco_karpathy_test_results.json", size=5000),
    foreign={
        "lmms-eval": Foreign(
            names=("coco_karpathy_test*",),
            key=foreign.field_of("image_id", "coco_CIDEr"),
            sample=_captioned,
            figure=("coco_CIDEr",),
            scale=100.0,
        ),
        "VLMEvalKit": Foreign(
            names=("coco_val",),
            key=lambda record: record.references,
            sample_key=lambda sample: sample.references,
            figure=("CIDEr",),
            note="these are pictures of Karpathy's val split, and the published figures are test's",
        ),
    },
    splits={
        "val2014": Split(
            source=Source(
                demo=_DEMO,
                files=(files.CocoCaptions(file="captions_val2014.json", images="val2014"),),
                size=40_504,
            ),
            title="COCO val2014",
            submission=lists.captions("captions_val2014_infimm_results.json"),
        ),
        "test2014": Split(
            source=Source(
                demo=_DEMO,
                files=(files.CocoImages(file="image_info_test2014.json", images="test2014"),),
                size=40_775,
            ),
            title="COCO test2014",
            withheld=True,
            submission=lists.captions("captions_test2014_infimm_results.json"),
        ),
    },
)
