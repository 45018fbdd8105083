"""Greedy search: the most likely token, step by step.

Knows nothing of how a step is computed.

Shapes: R running prompts, Y vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infimm_eval.flamingo.cuda_graphs import Steps
from infimm_eval.flamingo.decoding import NOT_FINITE, Finish, Generated, Prompts


def greedy_search(prompts: Prompts, step: Steps, logits_RY: Tensor) -> list[Generated]:
    """The most likely next token of every prompt, given the scores after each, until it ends."""
    cache = step.cache
    answers: dict[int, Generated] = {}
    ids: list[list[int]] = [[] for _ in prompts.lengths]
    scores = [0.0] * len(prompts)
    of_row = prompts.in_rows(len(cache))
    for produced in range(max(prompts.limits)):
        whole_R = logits_RY.logsumexp(dim=-1)
        best_R, token_R = prompts.forbid(logits_RY, produced).max(dim=-1)
        # Side by side, so that an accelerator is waited for once.
        told = torch.stack([token_R.float(), best_R - whole_R]).tolist()
        gone, spoilt = [], []
        for r, (b, token, score) in enumerate(zip(list(of_row), *told, strict=True)):
            if b is None:
                continue
            token = int(token)
            if not math.isfinite(score):
                answers[b] = NOT_FINITE
                of_row[r] = None
                spoilt.append(r)
                continue
            scores[b] += score
            ended: Finish | None = "eos"
            if token not in prompts.eos:
                ids[b].append(token)
                ended = prompts.finish(b, ids[b])
            if ended is not None:
                answers[b] = Generated(tuple(ids[b]), ended, scores[b])
                of_row[r] = None
                gone.append(r)
        cache.clear(spoilt)
        if len(answers) == len(prompts):
            break
        cache.free(gone)
        running = [r for r, b in enumerate(of_row) if b is not None]
        if len(running) <= len(of_row) // 2 and not step.recordable:
            cache.select(running)
            token_R = token_R[running]
            of_row = [of_row[r] for r in running]
        logits_RY = step(token_R[:, None])[:, 0]
    return [answers[b] for b in range(len(prompts))]
