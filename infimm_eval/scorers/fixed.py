"""Fixed cases: answers with their samples by which a scorer's behaviour is known again.

They ship with the program, as small JSON files of our own making: ``cases/`` here for scorers that
benchmarks share, ``cases.json`` in a benchmark's folder for its own.  Knows no scorer; what comes
out of them is ``digest``'s business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from infimm_eval.types import Answer, Content, Image, Record, Sample

Cases: TypeAlias = Callable[[], list[Record]]


def beside(file: str) -> Cases:
    """Those in ``cases.json`` beside a scorer's own module: ``fixed.beside(__file__)``."""
    return lambda: read(Path(file).with_name("cases.json"))


def shared(name: str) -> Cases:
    """Those of a scorer in this package: ``fixed.shared("vqa")``."""
    return lambda: read(Path(__file__).with_name("cases") / f"{name}.json")


def read(path: Path) -> list[Record]:
    """A JSON list of objects: ``said``, and of the sample what matters (``references``,
    ``question``, ``options``, ``tags``); ``logliks`` of an answer that was ranked.

    A text may be a list of texts and of pictures, ``{"picture": "left"}``.
    """
    cases = json.loads(path.read_text(encoding="utf-8"))
    return [_record(str(number), case) for number, case in enumerate(cases, 1)]


@dataclass(frozen=True, slots=True)
class Unseen(Image):
    """A picture that nobody looks at."""

    name: str

    @property
    def key(self) -> str:
        """Its name: there is nothing behind it."""
        return self.name

    def read(self) -> bytes:
        """Never: ``OSError``."""
        raise OSError(f"{self.name} is only a name")


def _record(id: str, case: dict[str, Any]) -> Record:
    sample = Sample(
        id=id,
        question=_content(case.get("question", ())),
        references=tuple(case.get("references", ())),
        options=tuple(map(_content, case.get("options", ()))),
        tags=case.get("tags", {}),
    )
    answer = Answer(id, case["said"], logliks=tuple(case.get("logliks", ())))
    return Record(sample, answer, case["said"])


def _content(written: str | Sequence[str | dict[str, str]]) -> Content:
    parts = [written] if isinstance(written, str) else written
    return tuple(part if isinstance(part, str) else Unseen(part["picture"]) for part in parts)
