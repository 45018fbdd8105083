"""Beam search over a tree that is never copied: all beams of a prompt write into one cache row,
and each sees its own ancestors there.

Knows nothing of how a step is computed.

The search is the one of transformers 4.35 (`BeamSearchScorer`), which released numbers were made
with; only the length that scores are divided by is chosen, see `LENGTH_RULES`.

Shapes: R running prompts, K beams, S places in a cache row, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from infimm_eval.flamingo.cuda_graphs import Steps
from infimm_eval.flamingo.kv_cache import KVCache

if TYPE_CHECKING:
    from infimm_eval.flamingo.generation import Generated, Prompts

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


@dataclass
class _Search:
    """The best finished answers of one prompt, and whether a better one can still come."""

    width: int
    penalty: float
    early: bool | Literal["never"]
    limit: int
    length_at: Callable[[int], int]
    found: list[tuple[float, list[int], Literal["eos", "stop", "length"]]] = field(
        default_factory=list
    )

    def add(
        self, total: float, length: int, ids: list[int], finish: Literal["eos", "stop", "length"]
    ) -> None:
        self.found.append((total / length**self.penalty, ids, finish))
        if len(self.found) > self.width:
            self.found.remove(min(self.found, key=lambda f: f[0]))

    def settled(self, best: float, produced: int) -> bool:
        """Whether no running beam, the best having this sum, can still enter the finished."""
        if len(self.found) < self.width:
            return False
        if self.early is True:
            return True
        at = self.limit if self.early == "never" and self.penalty > 0 else produced
        attainable: float = best / self.length_at(at) ** self.penalty
        return min(f[0] for f in self.found) >= attainable


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


def beam_search(
    prompts: Prompts,
    step: Steps,
    logits_RY: Tensor,
    beams: int,
    penalty: float,
    early: bool | Literal["never"],
    rule: LengthRule,
) -> list[Generated]:
    """The best of `beams` hypotheses for every prompt, given the scores after each."""
    from infimm_eval.flamingo.generation import Generated, check_score

    K, device, cache = beams, prompts.ids_BT.device, step.cache
    tree = _Tree(cache, K, device)
    logits_RKY = logits_RY[:, None].expand(-1, K, -1)
    searches = [
        _Search(K, penalty, early, limit, lambda new: rule.running(prompts.padded, new))
        for limit in prompts.limits
    ]
    paths: list[list[list[int]]] = [[[] for _ in range(K)] for _ in prompts.lengths]
    of_row = prompts.in_rows(len(cache))
    total_RK = torch.tensor([[0.0] + [NEVER] * (K - 1)] * len(cache), device=device)
    for produced in range(max(prompts.limits)):
        chosen = _best(prompts, logits_RKY, total_RK, produced)
        moves: list[list[_Move]] = []
        gone = []
        for r, (b, candidates) in enumerate(zip(of_row, chosen, strict=True)):
            if b is None:
                moves.append([_Move(NEVER, 0, 0)] * K)
                continue
            check_score(candidates[0].total, b)
            picked = _advance(b, candidates, paths[b], prompts, searches[b], rule, K)
            moves.append(picked)
            paths[b] = [[*paths[b][m.beam], m.token] for m in picked]
            done = searches[b].settled(candidates[0].total, produced + 1)
            if not done and produced + 1 == prompts.limits[b]:
                for m, ids in zip(picked, paths[b], strict=True):
                    length = rule.running(prompts.padded, produced + 1)
                    searches[b].add(m.total, length, ids, "length")
                done = True
            if done:
                of_row[r] = None
                gone.append(r)
        running = [r for r, b in enumerate(of_row) if b is not None]
        if not running:
            break
        if gone:
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
    best = (max(search.found, key=lambda f: f[0]) for search in searches)
    return [Generated(tuple(ids), finish, score) for score, ids, finish in best]


class _Move(NamedTuple):
    """A beam's next token and the sum of log-probabilities with it."""

    total: float
    beam: int
    token: int


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


def _advance(
    row: int,
    candidates: list[_Move],
    paths: list[list[int]],
    prompts: Prompts,
    search: _Search,
    rule: LengthRule,
    beams: int,
) -> list[_Move]:
    """Files the candidates that end; returns the best K that go on."""
    picked: list[_Move] = []
    for rank, move in enumerate(candidates):
        ids = paths[move.beam]
        if move.token in prompts.eos:
            if rank < beams:
                length = rule.ended(prompts.padded, len(ids))
                search.add(move.total, length, ids, "eos")
        elif prompts.stop is not None and prompts.stop(row, [*ids, move.token]):
            if rank < beams:
                length = rule.running(prompts.padded, len(ids) + 1)
                search.add(move.total, length, [*ids, move.token], "stop")
        else:
            picked.append(move)
        if len(picked) == beams:
            return picked
    # Stop strings can end more candidates than there are spare ones.
    return picked + [_Move(NEVER, 0, candidates[-1].token)] * (beams - len(picked))
