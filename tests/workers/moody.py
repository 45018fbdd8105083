"""The fake model as workers of a bad day load it: slow, of other weights, hanging, or poisoned."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from infimm_eval.models.fake import Fake
from infimm_eval.types import Answer, Request


class Moody(Fake):
    """``folder`` is where the questions are named that it dies over (``poison``), raises at
    (``bad``) or hangs at, once (``hang``)."""

    def __init__(self, folder: str, delay: float = 0.0) -> None:
        super().__init__(delay=delay)
        self.folder = Path(folder)

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            if request.id in self._named("poison"):
                with (self.folder / "deaths").open("a") as file:
                    file.write(f"{request.id}\n")
                os._exit(1)
            if request.id in self._named("bad"):
                raise ValueError(f"cannot read {request.id}")
            if request.id in self._named("hang"):
                (self.folder / "hang").unlink()
                time.sleep(600)
            yield from super().generate([request])

    def _named(self, what: str) -> list[str]:
        file = self.folder / what
        return file.read_text().split() if file.exists() else []


def load(folder: str, delay: float = 0.0) -> Fake:
    """``mood`` is a file that the next one to load takes away with it."""
    mood, taken = Path(folder) / "mood", Path(folder) / f"mood-{os.getpid()}"
    try:
        mood.rename(taken)
        said = taken.read_text()
        taken.unlink()
    except OSError:
        said = ""
    if said == "other":
        return Fake("other", delay=delay)
    if said == "stuck":
        time.sleep(600)
    return Moody(folder, delay * (10 if said == "slow" else 1))
