"""Models and rows made for single tests of runs."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from infimm_eval import logs
from infimm_eval.models.fake import Fake
from infimm_eval.types import (
    Answer,
    Request,
)

Run = Callable[..., list[logs.Cell]]


class Counting(Fake):
    """Counts what it is asked, and remembers the prompts."""

    def __init__(self, says: str = "yes", fingerprint: str = "one", **options: Any) -> None:
        super().__init__(says, **options)
        self.asked: list[Request] = []
        self.fingerprint = fingerprint

    @property
    def settings(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return super().generate(self._noted(requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return super().rank(self._noted(requests))

    def _noted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.asked.append(request)
            yield request
