"""A judge for the demo: compares words by rule, so that judged benchmarks run offline.

Not a substitute for a judge on real data, and named so that no table hides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import infimm_eval
from infimm_eval.demo.judge import verdict
from infimm_eval.errors import UsageError
from infimm_eval.models.options import ModelOptions, keywords
from infimm_eval.types import Answer, Request, Style


class DemoJudge:
    """Grades by the words that answer and right answer share; sees no picture."""

    name = "demo-judge (rule-based)"
    style: Style = "instruct"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its rules are those of this version of the package."""
        return {"backend": "demo-judge", "version": infimm_eval.__version__}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """A verdict on each, at once."""
        for request in requests:
            turns = request.prompt.turns
            asked = "".join(p for turn in turns for p in turn.content if isinstance(p, str))
            yield Answer(request.id, verdict(asked))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """Always a UsageError."""
        raise UsageError("the demo judge grades answers; it cannot rank options")


def build(name: str, options: ModelOptions) -> DemoJudge:
    """There is one, and it has no options."""
    keywords(DemoJudge, options.options, "demo-judge")
    return DemoJudge()
