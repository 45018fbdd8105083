"""A judge for the demo: compares words by rule, so that judged benchmarks run offline.

Not a substitute for a judge on real data, and named so that no table hides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import infimm_eval
from infimm_eval.demo.judge import verdict
from infimm_eval.errors import UsageError
from infimm_eval.models import Choices
from infimm_eval.types import Answer, Request, Style


class DemoJudge:
    """Grades by the words that answer and right answer share; sees no picture."""

    name = "demo-judge (rule-based)"
    style: Style = "instruct"

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"backend": "demo-judge", "version": infimm_eval.__version__}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        for request in requests:
            turns = request.prompt.turns
            asked = "".join(p for turn in turns for p in turn.content if isinstance(p, str))
            yield Answer(request.id, verdict(asked))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        raise UsageError("the demo judge grades answers; it cannot rank options")


def build(name: str, choices: Choices) -> DemoJudge:
    return DemoJudge()
