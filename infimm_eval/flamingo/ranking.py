"""How likely given continuations are, their common prompt computed once.

Knows nothing of choices or answers: ids in, log-probabilities out.

Shapes: B prompts, T tokens, R = B cache rows, S places in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.prefill import check_batch, pack, read_after
from infimm_eval.flamingo.shown import Latents


@dataclass(frozen=True)
class Ranked:
    """Log-probability of each token of a continuation (natural logarithm), and whether greedy
    decoding of the prompt would have produced exactly these tokens.  Where the model's scores are
    not finite, neither is `sum`."""

    tokens: tuple[float, ...]
    is_greedy: bool

    @property
    def sum(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.tokens)


@torch.inference_mode()
def rank(
    model: Flamingo,
    ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    latents_BIVD: Latents | None = None,
    n_images_B: Tensor | None = None,
    *,
    continuations: Sequence[Sequence[Sequence[int]]],
    prefixes: Sequence[KVCache | None] = (),
) -> list[list[Ranked]]:
    """Scores `continuations[b]`, lists of ids, after prompt b; see `generate` for the rest,
    `prefixes` included.

    All continuations of a prompt follow it in one cache row and in one step, each seeing the
    prompt and itself.  UsageError for an empty continuation, one with a picture tag (it would
    change what the prompt itself computes) or an id beyond the vocabulary, or more tokens than the
    model has positions.
    """
    packed_BT, lengths = pack(ids_BT, mask_BT)
    check_batch(lengths, latents_BIVD, n_images_B, prefixes)
    if len(continuations) != len(lengths):
        raise UsageError(f"{len(lengths)} prompts came with continuations for {len(continuations)}")
    if not lengths:
        return []
    _check(model, continuations)
    longest = [max((len(c) for c in row), default=1) for row in continuations]
    model.check_positions(max(n + m for n, m in zip(lengths, longest, strict=True)))
    # A continuation's last token is scored but not read.
    branches = [[list(c[:-1]) for c in row] for row in continuations]
    width = max(sum(map(len, row)) for row in branches)
    cache = model.new_cache(len(lengths), max(lengths) + width)
    first_BY = read_after(prefixes, model, cache, packed_BT, lengths, latents_BIVD, n_images_B)
    after_BTM = _read(model, branches, cache, width) if width else None
    return [
        _score(row, first_BY[b : b + 1], None if after_BTM is None else model.logits(after_BTM[b]))
        for b, row in enumerate(continuations)
    ]


def _check(model: Flamingo, continuations: Sequence[Sequence[Sequence[int]]]) -> None:
    words = model.decoder.vocab_size
    for b, row in enumerate(continuations):
        for c in row:
            if not c:
                raise UsageError(f"prompt {b} has an empty continuation; it has no likelihood")
            if model.tokens.image in c:
                raise UsageError(f"prompt {b} has a continuation with a picture tag; drop the tag")
            if min(c) < 0 or max(c) >= words:
                raise UsageError(f"prompt {b} has a continuation with an id beyond 0..{words - 1}")


def _read(model: Flamingo, branches: list[list[list[int]]], cache: KVCache, width: int) -> Tensor:
    """Hidden states (B, width, M) of every row's branches, laid end to end."""
    device = model.device

    def table(rows: list[list[int]]) -> Tensor:
        return torch.tensor([r + [0] * (width - len(r)) for r in rows], device=device)

    ids_BW = table([[token for c in row for token in c] for row in branches])
    # Padding belongs to branch 0, which no branch is called.
    branch_BW = table([[i for i, c in enumerate(row, 1) for _ in c] for row in branches])
    depth_BW = table([[d for c in row for d in range(len(c))] for row in branches])
    length_B1 = torch.tensor(cache.lengths, device=device)[:, None]
    place_S = torch.arange(max(cache.lengths) + width, device=device)
    offset_BS = (place_S - length_B1).clamp(0, width - 1)
    in_prompt_BS = place_S < length_B1
    in_row_BS = ~in_prompt_BS & (place_S < length_B1 + width)
    branch_BS = branch_BW.gather(1, offset_BS).masked_fill(~in_row_BS, -1)
    depth_BS = depth_BW.gather(1, offset_BS)
    own_BWS = (branch_BS[:, None] == branch_BW[..., None]) & (
        depth_BS[:, None] <= depth_BW[..., None]
    )
    visible_BWS = in_prompt_BS[:, None] | own_BWS
    return model.extend(cache, ids_BW, length_B1 + depth_BW, visible_BWS)


def _score(row: Sequence[Sequence[int]], first_1Y: Tensor, after_WY: Tensor | None) -> list[Ranked]:
    first_1Y = first_1Y.double().log_softmax(-1)
    after_WY = first_1Y[:0] if after_WY is None else after_WY.double().log_softmax(-1)
    ranked, at = [], 0
    for c in row:
        end = at + len(c) - 1
        logp_TY = torch.cat([first_1Y, after_WY[at:end]])
        at = end
        ids_T = torch.tensor(c, device=logp_TY.device)
        tokens = logp_TY.gather(1, ids_T[:, None])[:, 0].tolist()
        ranked.append(Ranked(tuple(tokens), bool((logp_TY.argmax(-1) == ids_T).all())))
    return ranked
