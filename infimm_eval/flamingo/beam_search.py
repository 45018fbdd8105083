"""Beam search over a tree that is never copied: all beams of a prompt write into one cache row,
and each sees its own ancestors there.

Knows nothing of how a step is computed.

The search is the one of transformers 4.35 (`BeamSearchScorer`), which released numbers were made
with; only the length that scores are divided by is chosen, see `LENGTH_RULES`.

Shapes: R running prompts, K beams, S places in a cache row, Y vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from infimm_eval.flamingo.cuda_graphs import Steps
from infimm_eval.flamingo.decoding import NOT_FINITE, Finish, Generated, Prompts
from infimm_eval.flamingo.kv_cache import KVCache

NEVER = -1e9  # score of a beam that must not win; finite, so that sums of it stay ordered


class LengthRule(NamedTuple):
    """Lengths that scores are divided by, given the padded prompt's and the new tokens' number.

    `ended` is for a beam that chose to end, its new tokens counted without that end; `running` for
    any other beam.
    """

    ended: Callable[[int, int], int]
    running: Callable[[int, int], int]


LENGTH_RULES = {
    "transformers": LengthRule(lambda prompt, new: new + 1, lambda prompt, new: new),
    "original-4.35": LengthRule(lambda prompt, new: prompt + new, lambda prompt, new: prompt + new),
}


def beam_search(prompts: Prompts, step: Steps, logits_RY: Tensor) -> list[Generated]:
    """The best of several hypotheses for every prompt, given the scores after each."""
    K, device, cache = prompts.search.num_beams, prompts.ids_BT.device, step.cache
    tree = _Tree(cache, K, device)
    logits_RKY = logits_RY[:, None].expand(-1, K, -1)
    searches = [_Search(prompts, b) for b in range(len(prompts))]
    of_row = prompts.in_rows(len(cache))
    total_RK = torch.tensor([[0.0] + [NEVER] * (K - 1)] * len(cache), device=device)
    for produced in range(max(prompts.limits)):
        moves = [[_Move(NEVER, 0, 0)] * K for _ in of_row]
        gone, spoilt = [], []
        chosen = _best(prompts, logits_RKY, total_RK, produced)
        for r, (b, candidates) in enumerate(zip(list(of_row), chosen, strict=True)):
            if b is None:
                continue
            if not math.isfinite(candidates[0].total):
                searches[b].found = []
                of_row[r] = None
                spoilt.append(r)
                continue
            moves[r], ended = searches[b].advance(candidates, produced + 1)
            if ended:
                of_row[r] = None
                gone.append(r)
        cache.clear(spoilt)
        running = [r for r, b in enumerate(of_row) if b is not None]
        if not running:
            break
        cache.free(gone)
        if len(running) <= len(of_row) // 2 and not step.recordable:
            cache.select(running)
            tree.select(running)
            moves = [moves[r] for r in running]
            of_row = [of_row[r] for r in running]
        total_RK = torch.tensor([[m.total for m in row] for row in moves], device=device)
        token_RK = torch.tensor([[m.token for m in row] for row in moves], device=device)
        parent_RK = torch.tensor([[m.beam for m in row] for row in moves], device=device)
        position_RK, visible_RKS = tree.grow(parent_RK)
        longest = max(cache.lengths) + K
        logits_RKY = step(token_RK, position_RK, visible_RKS[..., :longest])
    return [search.best() for search in searches]


class _Move(NamedTuple):
    """A beam's next token and the sum of log-probabilities with it."""

    total: float
    beam: int
    token: int


class _Search:
    """One prompt's beams, the best of its finished answers, and whether a better can still come."""

    def __init__(self, prompts: Prompts, row: int) -> None:
        self.prompts, self.row = prompts, row
        self.width, self.penalty = prompts.search.num_beams, prompts.search.length_penalty
        self.rule = LENGTH_RULES[prompts.search.beam_length_rule]
        self.paths: list[list[int]] = [[] for _ in range(self.width)]
        self.found: list[tuple[float, list[int], Finish]] = []

    def advance(self, candidates: list[_Move], produced: int) -> tuple[list[_Move], bool]:
        """The best K that go on, with so many new tokens, and whether the search is over."""
        picked = self._pick(candidates)
        self.paths = [[*self.paths[m.beam], m.token] for m in picked]
        if self._settled(candidates[0].total, produced):
            return picked, True
        if produced < self.prompts.limits[self.row]:
            return picked, False
        for move, ids in zip(picked, self.paths, strict=True):
            self._add(move.total, self._running(produced), ids, "length")
        return picked, True

    def best(self) -> Generated:
        """The best finished answer."""
        if not self.found:
            return NOT_FINITE
        score, ids, finish = max(self.found, key=lambda found: found[0])
        return Generated(tuple(ids), finish, score)

    def _pick(self, candidates: list[_Move]) -> list[_Move]:
        """Files the candidates that end; returns the best K of the others."""
        prompts, K = self.prompts, self.width
        picked: list[_Move] = []
        for rank, move in enumerate(candidates):
            ids = self.paths[move.beam]
            if move.token in prompts.eos:
                if rank < K:
                    self._add(move.total, self.rule.ended(prompts.padded, len(ids)), ids, "eos")
            elif prompts.stop is not None and prompts.stop(self.row, [*ids, move.token]):
                if rank < K:
                    length = self._running(len(ids) + 1)
                    self._add(move.total, length, [*ids, move.token], "stop")
            else:
                picked.append(move)
            if len(picked) == K:
                return picked
        # Stop strings can end more candidates than there are spare ones.
        return picked + [_Move(NEVER, 0, candidates[-1].token)] * (K - len(picked))

    def _running(self, new: int) -> int:
        return self.rule.running(self.prompts.padded, new)

    def _add(self, total: float, length: int, ids: list[int], finish: Finish) -> None:
        self.found.append((total / length**self.penalty, ids, finish))
        if len(self.found) > self.width:
            self.found.remove(min(self.found, key=lambda found: found[0]))

    def _settled(self, best: float, produced: int) -> bool:
        """Whether no running beam, the best having this sum, can still enter the finished."""
        early = self.prompts.search.early_stopping
        if len(self.found) < self.width:
            return False
        if early is True:
            return True
        limit = self.prompts.limits[self.row]
        at = limit if early == "never" and self.penalty > 0 else produced
        attainable: float = best / self._running(at) ** self.penalty
        return min(found[0] for found in self.found) >= attainable


class _Tree:
    """Which places of its cache row each beam sees: the prompt and its own ancestors."""

    def __init__(self, cache: KVCache, beams: int, device: torch.device) -> None:
        R, S = len(cache), cache.capacity
        self.length_R1 = torch.tensor(cache.lengths, device=device)[:, None]
        visible_RS = torch.arange(S, device=device) < self.length_R1
        self.visible_RKS = visible_RS[:, None].expand(R, beams, S).clone()
        self.beam_K = torch.arange(beams, device=device)
        self.depth = 0

    def grow(self, parent_RK: Tensor) -> tuple[Tensor, Tensor]:
        """One more token on each beam; returns its position (R, K) and what it sees (R, K, S)."""
        K, S = len(self.beam_K), self.visible_RKS.shape[-1]
        at_RK = self.length_R1 + self.depth * K + self.beam_K
        at_RK = at_RK.clamp(max=S - 1)  # only rows that have ended run past their room
        self.visible_RKS = self.visible_RKS.gather(1, parent_RK[..., None].expand(-1, -1, S))
        self.visible_RKS.scatter_(2, at_RK[..., None], True)
        position_RK = (self.length_R1 + self.depth).expand_as(at_RK)
        self.depth += 1
        return position_RK, self.visible_RKS

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these rows in this order."""
        self.length_R1 = self.length_R1[list(rows)]
        self.visible_RKS = self.visible_RKS[list(rows)]


def _best(
    prompts: Prompts, logits_RKY: Tensor, total_RK: Tensor, produced: int
) -> list[list[_Move]]:
    """Each row's best continuations, best first: enough that K of them do not end."""
    K, Y = logits_RKY.shape[1:]
    score_RKY = prompts.forbid(logits_RKY.log_softmax(dim=-1), produced) + total_RK[..., None]
    enough = min(max(2, 1 + len(prompts.eos)) * K, K * Y)
    total_RC, place_RC = score_RKY.flatten(1).topk(enough)
    return [
        [_Move(total, place // Y, place % Y) for total, place in zip(totals, places, strict=True)]
        for totals, places in zip(total_RC.tolist(), place_RC.tolist(), strict=True)
    ]
