"""How MMBench stands in other harnesses' logs: by official indices, each rotation a million on."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from infimm_eval.data.reading import whole_number
from infimm_eval.submissions.foreign import inside
from infimm_eval.types import Foreign, ForeignRecord, Sample

from .files import base

_DICTIONARIES = ("gpt_eval_score", "submission")
_ROTATION = 1_000_000


def _lmms_index(record: ForeignRecord) -> str:
    return str(inside(record, *_DICTIONARIES).get("index", ""))


def _lmms(record: ForeignRecord) -> Sample | None:
    row = inside(record, *_DICTIONARIES)
    held = (str(row.get(letter, "nan")) for letter in ascii_uppercase)
    options = tuple(option for option in held if option != "nan")  # it writes nan for an empty cell
    return _sample(_lmms_index(record), row, str(row.get("answer", "")), options)


def _sheet(record: ForeignRecord) -> Sample | None:
    return _sample(record.id, record.fields, record.target, record.options)


def _sample(
    index: str, row: Mapping[str, Any], answer: str, options: tuple[str, ...]
) -> Sample | None:
    if whole_number(index) is None or not answer:
        return None
    category = str(row.get("l2-category") or row.get("L2-category") or "")
    tags = {"category": str(row.get("category") or ""), "l2-category": category}
    return Sample(
        id=index,
        question=(str(row.get("question", "")),),
        references=(answer,),
        options=tuple((option,) for option in options),
        group=base(index),
        tags={name: tag for name, tag in tags.items() if tag}
        | {"question": base(index), "rotations": str(len(options))},
    )


def _llava_index(record: ForeignRecord) -> str:
    if (index := whole_number(record.id)) is None:
        return ""
    turn = record.fields.get("round_id")
    return str(index + _ROTATION * (turn if type(turn) is int else 0))


FOREIGN = {
    "lmms-eval": Foreign(
        names=("mmbench_en_dev*", "mmbench_dev*"),
        key=_lmms_index,
        sample=_lmms,
        figure=("gpt_eval_score",),
    ),
    "VLMEvalKit": Foreign(
        names=("mmbench_dev_en", "mmbench"),
        sample=_sheet,
        figure=("Overall",),
        scale=100.0,
    ),
    "LLaVA": Foreign(names=("mmbench*",), key=_llava_index),
}
