"""How several benchmarks stand in other harnesses' logs: what their ``Task.foreign`` is made of.

Knows what lines of those logs hold; opens no file and knows no benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from infimm_eval.data.vqa import ANNOTATORS
from infimm_eval.types import Foreign, ForeignRecord, Sample

YES_OR_NO = " Please answer yes or no."
_INSTRUCTION = re.compile(r"(?i)^(?:answer (?:the question|with)|when the provided|reference ocr)")


def inside(record: ForeignRecord, *names: str) -> Mapping[str, Any]:
    """The first of a line's named fields that is an object; an empty one where none is."""
    found = (record.fields.get(name) for name in names)
    return next((one for one in found if isinstance(one, Mapping)), {})


def field_of(name: str, *inner: str) -> Callable[[ForeignRecord], str]:
    """A key that reads ``name`` in the first of the ``inner`` objects, or of the line."""

    def key(record: ForeignRecord) -> str:
        held = inside(record, *inner) if inner else record.fields
        return str(held.get(name, ""))

    return key


def people(record: ForeignRecord) -> Sample | None:
    """A question with the ten answers of people; of one with fewer, no VQA accuracy is known."""
    if len(record.references) != ANNOTATORS:
        return None
    return Sample(
        id=record.id,
        question=(record.prompt,) if record.prompt else (),
        target=record.references[0],
        references=record.references,
    )


PEOPLE = Foreign(sample=people)
"""Of harnesses that a VQA benchmark says nothing of."""


def rows_only(*names: str, **how: Any) -> Foreign:
    """A log that has nothing but row numbers."""
    return Foreign(names=names, key=lambda record: None, **how)


def asked(prompt: str) -> str:
    """The question of LLaVA's prompt: the first line that is neither a hint nor an instruction."""
    lines = [line.strip() for line in prompt.replace("<image>", "").split("\n")]
    kept = [line for line in lines if line and not _INSTRUCTION.match(line)]
    return kept[0] if kept else ""
