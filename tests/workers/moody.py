"""A model as workers of a bad day load it: slow, of other weights, hanging, or poisoned."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from infimm_eval import models
from infimm_eval.types import Answer, Model, Request, Style

Ask = Callable[[Iterable[Request]], Iterator[Answer]]


class Moody:
    """``folder`` is where the questions are named that it dies over (``poison``), raises at
    (``bad``) or hangs at, once (``hang``).  It waits ``delay`` seconds before each question."""

    def __init__(self, model: Model, folder: Path, delay: float) -> None:
        self.name: str = model.name
        self.style: Style = model.style
        self.settings: Mapping[str, Any] = model.settings
        self._model, self._folder, self._delay = model, folder, delay

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """As the model does."""
        return self._model.generate(map(self._met, requests))

    def _met(self, request: Request) -> Request:
        if request.id in self._named("poison"):
            with (self._folder / "deaths").open("a") as file:
                file.write(f"{request.id}\n")
            os._exit(1)
        if request.id in self._named("bad"):
            raise ValueError(f"cannot read {request.id}")
        if request.id in self._named("hang"):
            (self._folder / "hang").unlink()
            time.sleep(600)
        time.sleep(self._delay)
        return request

    def _named(self, what: str) -> list[str]:
        try:
            return (self._folder / what).read_text().split()
        except FileNotFoundError:
            return []


class Other(Moody):
    """Of other weights: it has another fingerprint, and says what the right ones never would."""

    def __init__(self, model: Model, folder: Path, delay: float) -> None:
        super().__init__(model, folder, delay)
        self.settings = {**model.settings, "fingerprint": "other"}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Nothing that may come to stand in a log."""
        return (replace(answer, text="other") for answer in super().generate(requests))


def load(folder: str, delay: float = 0.0, model: str = "fake") -> Moody:
    """``mood`` is a file that the next one to load takes away with it."""
    mood, taken = Path(folder) / "mood", Path(folder) / f"mood-{os.getpid()}"
    try:
        mood.rename(taken)
        said = taken.read_text()
        taken.unlink()
    except OSError:
        said = ""
    if said == "stuck":
        time.sleep(600)
    kind = Other if said == "other" else Moody
    return kind(models.load(model), Path(folder), delay * (10 if said == "slow" else 1))
