"""Our samples inside other formats: what lets a published log be scored again without loss.

Knows the codec of the log and no other format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from infimm_eval.logs import codec
from infimm_eval.logs.publish.clean import clean_text
from infimm_eval.logs.values import Entry
from infimm_eval.types import Sample

NAME = "infimm_eval"
"""Under which a sample's metadata has it."""


def pack(entry: Entry) -> str:
    """The sample and what was scored of its answer, as one text."""
    body = {"sample": clean_text(codec.dump_sample(entry.sample)), "said": said(entry)}
    return json.dumps(body, ensure_ascii=False)


def said(entry: Entry) -> str:
    """The text that was scored; of ranked options the letter of the likeliest."""
    if entry.answer is not None and entry.answer.logliks:
        liks = entry.answer.logliks
        return ascii_uppercase[liks.index(max(liks))]
    return clean_text(entry.said or "")


def unpack(metadata: Any) -> tuple[Sample, str] | None:
    """What ``pack`` wrote, of a line that we published; ``None``: somebody else did."""
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get(NAME), str):
        return None
    try:
        body = json.loads(metadata[NAME])
        return next(codec.load_samples([body["sample"]])), str(body["said"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
