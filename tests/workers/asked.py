"""Requests of the demo's questions, as a run would put them."""

from __future__ import annotations

from functools import cache

from infimm_eval import formats
from infimm_eval.models.fake import Fake
from infimm_eval.run.plan import PlanRequest, plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.questions import CellQuestions
from infimm_eval.run.selectors import Selectors
from infimm_eval.run.task_data import TaskData
from infimm_eval.types import Request


@cache
def requests(count: int = 60, shots: int = 0, support: str = "random") -> tuple[Request, ...]:
    """The first ``count`` of VQAv2."""
    asked = PlanRequest(tasks=["vqav2"], shots=(shots,), limit=count, options={"support": support})
    chosen = plan(asked, data="demo", judge=None)
    (task,) = chosen.tasks
    form = formats.form(task, formats.INFIMM, "completion", wanted=None)
    selectors = Selectors(chosen, Fake(), ProgressListener())
    cell = CellQuestions(TaskData(task, chosen), shots, 0, form, selectors)
    cell.check()
    return tuple(question.request for question in cell)
