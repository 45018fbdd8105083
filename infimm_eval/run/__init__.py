"""From a plan to a finished log: one stream of requests over all cells, answers kept as they come,
each cell scored while the next is asked.

    plan       what a person asks for, and the cells it makes
    task_data  rows as samples               questions  samples as requests
    stream     requests to the model         scoring    answers to figures
    cells      figures into the log          run        all of it, in one direction
    evaluate, rescore, score_file, submit    thin callers
"""

from infimm_eval.run.plan import Options, Plan, PlanRequest
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.run import run

__all__ = ["Options", "Plan", "PlanRequest", "ProgressListener", "run"]
