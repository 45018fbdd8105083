"""How MMMU stands in other harnesses' logs."""

from __future__ import annotations

from collections.abc import Callable

from infimm_eval.errors import UsageError
from infimm_eval.submissions.foreign import field_of
from infimm_eval.types import Foreign, ForeignRecord, Sample

from .subjects import SUBJECTS, subject

_lmms_id = field_of("id", "mmmu_acc", "mmmu_acc_pass_at_k")
_sheet_id = field_of("id")


def _sample(id: Callable[[ForeignRecord], str]) -> Callable[[ForeignRecord], Sample | None]:
    """A question of the validation split as a log carries it."""

    def carried(record: ForeignRecord) -> Sample | None:
        key = id(record)
        if not key.startswith("validation_") or not record.references:
            return None
        try:
            about = subject(key)
        except UsageError:
            return None
        # VLMEvalKit writes options of its own into open questions that it has matched
        options = () if record.fields.get("question_type") == "open" else record.options
        return Sample(
            id=key,
            question=(record.prompt,),
            references=record.references,
            options=tuple((option,) for option in options),
            tags={
                "subject": about,
                "discipline": SUBJECTS[about],
                "question_type": "multiple-choice" if options else "open",
            },
        )

    return carried


FOREIGN = {
    "lmms-eval": Foreign(
        names=("mmmu_val*",),
        key=_lmms_id,
        sample=_sample(_lmms_id),
        figure=("mmmu_acc",),
        scale=100.0,
    ),
    "VLMEvalKit": Foreign(
        names=("mmmu_dev_val",),
        key=_sheet_id,
        sample=_sample(_sheet_id),
        value=("hit",),
        figure=("Overall",),
        scale=100.0,
        note="the sheet may hold the dev split too, which is left out",
    ),
    "lm-eval": Foreign(
        names=("mmmu_val*",), sample=_sample(lambda record: record.id), value=("acc",), scale=100.0
    ),
}
