"""Questions that get no answer: why, as an answer that says so, while all others go on.

Knows neither models nor pictures.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from infimm_eval.models.shared.batch_limiter import lacks_memory
from infimm_eval.types import Answer, Request

ASTRAY: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What libraries raise at a picture, a prompt or a number that they did not expect."""

NOT_FINITE = (
    "the model's scores are not finite numbers (NaN or infinity): damaged weights, or too narrow a "
    "dtype for them"
)

Job = TypeVar("Job")


@dataclass(slots=True, eq=False)
class Refused:
    """A prompt that the model cannot read, and the answer that says so."""

    answer: Answer


def refused(request: Request, why: str, notes: Mapping[str, Any] | None = None) -> Answer:
    """The answer to a question that gets none."""
    return Answer(request.id, "", "error", notes={**(notes or {}), "error": why})


def one_line(error: Exception) -> str:
    """What an error says, however much that is, and whatever else than letters it echoes."""
    said = "".join(c if c.isprintable() else " " for c in str(error)[:3000])
    return " ".join(said.split())[:300] or type(error).__name__


def each_its_own(
    jobs: Sequence[Job],
    work: Callable[[Sequence[Job]], list[Answer]],
    refuse: Callable[[Job, Exception], Answer],
) -> list[Answer]:
    """``work``; where one of the jobs leads it astray, that one alone has no answer.

    What is no fault of a job (memory, what a person has to put right) is raised as it is.
    """
    try:
        return work(jobs)
    except ASTRAY as error:
        if isinstance(error, RuntimeError) and lacks_memory(error):
            raise
        if len(jobs) == 1:
            return [refuse(jobs[0], error)]
    return [answer for job in jobs for answer in each_its_own([job], work, refuse)]
