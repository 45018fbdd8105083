"""How MME stands in other harnesses' logs, none of which has an id for a question: a picture's two
are told apart by their text, or by which of them is right."""

from __future__ import annotations

from infimm_eval.submissions.foreign import YES_OR_NO, asked, inside
from infimm_eval.types import Foreign, ForeignRecord, Sample

from .submission import sample_id

_SCORES = ("mme_perception_score", "mme_cognition_score")


def _of_picture(place: str, question: str, record: ForeignRecord) -> Sample | None:
    """A question as it stands in a log, whose right answer is its target."""
    category, _, file = place.rpartition("/")
    if not category or record.target not in ("Yes", "No"):
        return None
    return Sample(
        id=sample_id(category, file, question),
        question=(question,),
        references=(record.target,),
        group=place,
        tags={"category": category, "file": file},
    )


def _lmms_picture(record: ForeignRecord) -> str:
    return str(inside(record, *_SCORES).get("question_id", ""))


def _lmms(record: ForeignRecord) -> Sample | None:
    return _of_picture(_lmms_picture(record), asked(record.prompt) + YES_OR_NO, record)


def _sheet_picture(record: ForeignRecord) -> str:
    """``OCR/0001.jpg``, also of a path on somebody's machine."""
    return "/".join(str(record.fields.get("image_path", "")).replace("\\", "/").split("/")[-2:])


def _sheet(record: ForeignRecord) -> Sample | None:
    return _of_picture(_sheet_picture(record), record.prompt, record)


def _question(sample: Sample) -> str:
    return "".join(part for part in sample.question if isinstance(part, str))


def _unasked(question: str) -> str:
    return question.removesuffix(YES_OR_NO.strip()).strip()


FOREIGN = {
    "lmms-eval": Foreign(
        names=("mme",),
        key=lambda record: (_lmms_picture(record), record.target),
        sample_key=lambda sample: (sample.group, *sample.references),
        sample=_lmms,
        spoken=_unasked,
        value=_SCORES,
    ),
    "VLMEvalKit": Foreign(
        names=("mme",),
        key=lambda record: (_sheet_picture(record), record.prompt),
        sample_key=lambda sample: (sample.group, _question(sample)),
        sample=_sheet,
        value=("score",),
        figure=("perception",),
    ),
    "LLaVA": Foreign(
        names=("mme*", "llava_mme*"),
        key=lambda record: (record.id, asked(record.prompt)),
        sample_key=lambda sample: (sample.group, _unasked(_question(sample))),
        spoken=_unasked,
    ),
}
