"""Options ranked by a Flamingo: the log-likelihood of each after its prompt.

Knows ids; which requests stand in a batch is not its business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import Flamingo, rank
from infimm_eval.flamingo.tokenizer import Tokenizer
from infimm_eval.models.flamingo.batches import collate
from infimm_eval.models.flamingo.prefix_cache import PrefixCache
from infimm_eval.models.flamingo.requests import Job
from infimm_eval.models.shared.refusals import NOT_FINITE, refused
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.types import Answer, Request


def option_ids(request: Request, tail: str, tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """The options in ids, as they follow a prompt that ends in ``tail``; UsageError for one
    without a text."""
    options = tuple(tuple(tokenizer.continuation(tail, option)) for option in request.options)
    if not all(options) or not options:
        what = "an empty option" if options else "no options"
        raise UsageError(f"request {request.id!r} has {what} to rank; every option needs a text")
    return options


class Ranking:
    """Ranks batches of jobs with one model."""

    def __init__(self, model: Flamingo, prefixes: PrefixCache, statistics: Statistics) -> None:
        self.model = model
        self.prefixes = prefixes
        self.statistics = statistics

    def batch(self, jobs: Sequence[Job]) -> list[Answer]:
        """One answer a job, in order; the best option is its text."""
        prefixes = self.prefixes.of(jobs)
        with self.statistics.stage("rank"):
            ranked = rank(
                self.model,
                *collate(jobs, self.model.device, self.statistics),
                continuations=[job.options for job in jobs],
                prefixes=prefixes,
            )
        answers = []
        for job, options in zip(jobs, ranked, strict=True):
            logliks = tuple(option.sum for option in options)
            if not all(map(math.isfinite, logliks)):
                answers.append(refused(job.request, NOT_FINITE, job.notes))
                continue
            best = max(range(len(logliks)), key=logliks.__getitem__)
            text = job.request.options[best]
            answers.append(
                Answer(job.request.id, text, logliks=logliks, notes=job.notes, prompt=job.written)
            )
        return answers
