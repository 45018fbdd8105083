"""Does the batch change an answer?  Asks some questions again, each alone.

Knows nothing of scores: a different text is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infimm_eval.types import Answer, Model, Request


@dataclass(frozen=True, slots=True)
class Difference:
    id: str
    beside_others: str
    alone: str


def differences(
    model: Model, requests: Iterable[Request], answers: Mapping[str, Answer]
) -> list[Difference]:
    """The ``requests`` whose answer, asked alone, is not the text in ``answers``.

    In float32 on a processor there should be none; in bfloat16 on an accelerator sums are rounded
    in another order for another batch, and a few close calls fall the other way.
    """
    found = []
    for request in requests:
        for answer in model.generate([request]):
            before = answers[request.id].text
            if answer.text != before:
                found.append(Difference(request.id, before, answer.text))
    return found
