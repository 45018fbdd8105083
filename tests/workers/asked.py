"""Requests of the demo's questions, as a run would put them."""

from __future__ import annotations

from functools import cache

from infimm_eval.models.fake import Fake
from infimm_eval.run.plan import Plan, PlanRequest, plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.run import _prepared
from infimm_eval.types import Request


@cache
def requests(count: int = 60, task: str = "vqav2") -> tuple[Request, ...]:
    """The first ``count`` of a benchmark, without shots."""
    chosen: Plan = plan(PlanRequest(tasks=[task], limit=count), data="demo", judge=None)
    (cell,) = _prepared(chosen, Fake(), ProgressListener())
    return tuple(question.request for question in cell)
