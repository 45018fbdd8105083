"""Continuous batching: greedy rows leave as they finish, and waiting prompts join in their place.

Knows ids and logits; who waits and in which order is the engine's business.

Shapes: R cache rows, Y vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from infimm_eval.flamingo import KVCache
from infimm_eval.flamingo.cuda_graphs import Steps
from infimm_eval.flamingo.decoding import Finish
from infimm_eval.flamingo.prefill import read_prompts
from infimm_eval.flamingo.shown import Latents
from infimm_eval.models.flamingo.requests import Job


@dataclass(slots=True, eq=False)
class _Row:
    job: Job
    ids: list[int] = field(default_factory=list)


class ContinuousBatch:
    """As many sequences as the cache of ``step`` has rows, all with the search of ``like``."""

    def __init__(
        self, step: Steps, like: Job, *, stop: Callable[[int, Sequence[int]], bool] | None
    ) -> None:
        self.model, self.cache = step.model, step.cache
        model, rows = step.model, len(step.cache)
        self.like = like
        self._step = step
        self._rows: list[_Row | None] = [None] * rows
        self._eos = like.eos
        self._least = like.request.decoding.min_new_tokens
        self._stop = stop
        self._banned = torch.tensor(sorted(like.banned), dtype=torch.long, device=model.device)
        self._ends = torch.tensor(sorted(like.eos), device=model.device)
        self._logits_RY = torch.zeros(rows, model.decoder.vocab_size, device=model.device)

    def __len__(self) -> int:
        """Rows, running and free."""
        return len(self._rows)

    def admits(self, job: Job) -> bool:
        """Whether the job wants the same search, and prompt and answer fit into a row."""
        return job.group == self.like.group and job.tokens <= self.cache.capacity

    @property
    def movable(self) -> bool:
        """Whether rows may be given up: steps that are recorded stay where they are."""
        return not self._step.recordable

    @property
    def running(self) -> list[Job]:
        """The jobs that are being answered."""
        return [row.job for row in self._rows if row is not None]

    @property
    def free(self) -> int:
        """Rows that a job may join."""
        return self._rows.count(None)

    @torch.inference_mode()
    def join(
        self,
        jobs: Sequence[Job],
        ids_BT: Tensor,
        latents_BIVD: Latents | None,
        n_images_B: Tensor | None,
        prefixes: Sequence[KVCache | None],
    ) -> None:
        """Reads the prompts (right-padded) into free rows."""
        rows = [r for r, row in enumerate(self._rows) if row is None][: len(jobs)]
        lengths = [len(job.ids) for job in jobs]
        logits_BY = read_prompts(
            prefixes, self.model, self.cache, ids_BT, lengths, latents_BIVD, n_images_B, rows
        )
        self._logits_RY[torch.tensor(rows, device=logits_BY.device)] = logits_BY
        for r, job in zip(rows, jobs, strict=True):
            self._rows[r] = _Row(job)

    @torch.inference_mode()
    def advance(self) -> list[tuple[Job, list[int], Finish]]:
        """One more token for every running row; returns the answers that are complete, without
        the token that ended them.  Where it raises, every row is still among the running."""
        best_R, token_R = self._choose()
        ended: list[tuple[int, _Row, Finish]] = []
        # Side by side, so that an accelerator is waited for once.
        told = torch.stack([token_R.float(), best_R]).tolist()
        for r, (row, token, best) in enumerate(zip(self._rows, *told, strict=True)):
            if row is None:
                continue
            if not math.isfinite(best):
                ended.append((r, row, "nan"))
            elif (finish := self._finish(row, int(token))) is not None:
                ended.append((r, row, finish))
        self.cache.free([r for r, _, finish in ended if finish != "nan"])
        self.cache.clear([r for r, _, finish in ended if finish == "nan"])
        if len(ended) < len(self.running):
            self._logits_RY = self._step(token_R[:, None])[:, 0]
        # Only now: were memory to give out in the step, answers of rows gone before would be lost.
        for r, _, _ in ended:
            self._rows[r] = None
        return [(row.job, row.ids, finish) for _, row, finish in ended]

    def shrink(self) -> None:
        """Gives up the free rows: nobody waits for them any more."""
        kept = [r for r, row in enumerate(self._rows) if row is not None]
        self.cache.select(kept)
        self._rows = [self._rows[r] for r in kept]
        self._logits_RY = self._logits_RY[kept]

    def _choose(self) -> tuple[Tensor, Tensor]:
        """Each row's best score and its token."""
        scores_RY = self._logits_RY.clone()
        scores_RY.index_fill_(-1, self._banned, -torch.inf)
        if self._least and len(self._ends):
            young = [r for r, row in enumerate(self._rows) if row and len(row.ids) < self._least]
            rows = torch.tensor(young, dtype=torch.long, device=scores_RY.device)
            scores_RY[rows[:, None], self._ends] = -torch.inf
        best_R, token_R = scores_RY.max(dim=-1)
        return best_R, token_R

    def _finish(self, row: _Row, token: int) -> Finish | None:
        if token in self._eos:
            return "eos"
        row.ids.append(token)
        if self._stop is not None and self._stop(0, row.ids):
            return "stop"
        return "length" if len(row.ids) >= row.job.request.decoding.max_new_tokens else None
