"""Our samples inside other formats: what lets a published log be scored again without loss.

Knows the codec of the log and no other format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from infimm_eval.logs import codec
from infimm_eval.logs.publish.clean import REMOVED, clean_text, clean_texts
from infimm_eval.logs.values import Entry
from infimm_eval.types import Sample

NAME = "infimm_eval"
"""Under which a sample's metadata has it."""


def pack(entry: Entry) -> str:
    """The sample and what was scored of its answer, as one text."""
    sample = clean_texts(json.loads(codec.dump_sample(entry.sample)))
    return json.dumps({"sample": sample, "said": said(entry)}, ensure_ascii=False)


def said(entry: Entry) -> str:
    """The text that was scored; of ranked options the letter of the likeliest."""
    if entry.answer is not None and entry.answer.logliks:
        liks = entry.answer.logliks
        return ascii_uppercase[liks.index(max(liks))]
    return clean_text(entry.said or "")


def heard(entry: Entry) -> str:
    """What the scorer read; nothing of an answer that had to be cleaned, for a normalised secret
    looks like none."""
    read_as = entry.score.read_as if entry.score else ""
    spoken = (entry.said or "", entry.answer.text if entry.answer else "")
    return clean_text(read_as) if all(clean_text(text) == text for text in spoken) else REMOVED


def unpack(metadata: Any) -> tuple[Sample, str] | None:
    """What ``pack`` wrote, of a line that we published; ``None``: somebody else did."""
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get(NAME), str):
        return None
    try:
        body = json.loads(metadata[NAME])
        sample = next(codec.load_samples([json.dumps(body["sample"])]))
        return sample, str(body["said"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
