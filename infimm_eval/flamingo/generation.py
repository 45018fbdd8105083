"""Answers: the most likely continuation of each prompt, token by token or by beam search.

Knows nothing of tokenizers: stop strings come as a function of token ids.

Shapes: B prompts, T tokens, I pictures, V latents, D their width, R cache rows, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.cache import Cache
from infimm_eval.flamingo.model import Flamingo, packing

Stop = Callable[[int, Sequence[int]], bool]
"""(prompt's index in the batch, its new ids so far) -> whether the answer is complete."""


@dataclass(frozen=True)
class Generated:
    """One answer.

    `ids` are the new tokens without the end-of-sequence token that closed them.  `score` is the
    sum of the log-probabilities of all chosen tokens, the closing one included; for beams, that
    sum over length ** length_penalty under the chosen length rule.
    """

    ids: tuple[int, ...]
    finish: Literal["eos", "stop", "length"]
    score: float


@dataclass(frozen=True)
class Prompts:
    """A batch ready to decode: right-padded ids and what each row may produce."""

    ids_BT: Tensor
    lengths: list[int]
    padded: int
    latents_BIVD: Tensor | None
    n_images_B: Tensor | None
    limits: list[int]
    least: int
    eos: frozenset[int]
    banned: Tensor
    stop: Stop | None
    prefixes: Sequence[Cache | None] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, model: Flamingo, cache: Cache) -> Tensor:
        """The prompts into an empty cache; logits after each, (B, Y)."""
        pictures = self.latents_BIVD, self.n_images_B
        return read_after(self.prefixes, model, cache, self.ids_BT, self.lengths, *pictures)

    def forbid(self, scores: Tensor, produced: int) -> Tensor:
        """Banned tokens, and the end before `least` tokens, become impossible, (..., Y)."""
        scores.index_fill_(-1, self.banned, -torch.inf)
        if produced < self.least and self.eos:
            scores[..., list(self.eos)] = -torch.inf
        return scores

    def finish(self, row: int, ids: Sequence[int]) -> Literal["stop", "length"] | None:
        """How an answer that did not choose to end has ended, if it has."""
        if self.stop is not None and self.stop(row, ids):
            return "stop"
        return "length" if len(ids) >= self.limits[row] else None


@torch.inference_mode()
def generate(
    model: Flamingo,
    ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    latents_BIVD: Tensor | None = None,
    n_images_B: Tensor | None = None,
    *,
    max_new_tokens: int | Sequence[int],
    min_new_tokens: int = 0,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False,
    beam_length_rule: str = "transformers",
    eos_ids: Iterable[int] | None = None,
    banned_ids: Iterable[int] | None = None,
    stop: Stop | None = None,
    prefixes: Sequence[Cache | None] = (),
) -> list[Generated]:
    """Continues every prompt, greedily or with `num_beams` > 1 by beam search; deterministic.

    Prompts may be padded on either side; a row's answer does not depend on its batch-mates.
    `latents_BIVD` and `n_images_B` as in `Flamingo.forward`: each picture is encoded once by the
    caller, whatever the number of beams.  `max_new_tokens` may be one figure per row.

    `eos_ids` defaults to the config's.  `banned_ids` defaults to the picture and end-of-chunk tags
    (those not in `eos_ids`): in the original a picture tag in one row's answer changed what all
    other rows see, and in none does it stand for a picture.  `stop` is asked after every token.

    `beam_length_rule` says what a beam's score is divided by.  "transformers": its new tokens, the
    end included.  "original-4.35", what the released code ran on: prompt with its padding plus
    new tokens, the end not counted; there alone the padding of `ids_BT` changes answers.

    `prefixes` names, for each prompt, a one-row cache that already holds its beginning, or None;
    see `read_after`.

    UsageError if prompt and answer exceed the model's positions or an option is unknown.
    """
    from infimm_eval.flamingo.beams import LENGTH_RULES, beam_search

    if beam_length_rule not in LENGTH_RULES:
        raise unknown("beam_length_rule", beam_length_rule, LENGTH_RULES)
    if num_beams < 1:
        raise UsageError(f"num_beams is {num_beams}; it counts from 1")
    config = model.config
    eos = frozenset(config.language.eos_ids if eos_ids is None else eos_ids)
    if banned_ids is None:
        banned_ids = {config.image_token_id, config.eoc_token_id} - eos
    B, T = ids_BT.shape
    one = isinstance(max_new_tokens, int)
    packed_BT, lengths = pack(ids_BT, mask_BT)
    prompts = Prompts(
        packed_BT,
        lengths,
        padded=T,
        latents_BIVD=latents_BIVD,
        n_images_B=n_images_B,
        limits=[max_new_tokens] * B if one else list(max_new_tokens),  # type: ignore[list-item, arg-type]
        least=min_new_tokens,
        eos=eos,
        banned=torch.tensor(sorted(banned_ids), dtype=torch.long, device=ids_BT.device),
        stop=stop,
        prefixes=prefixes,
    )
    if min(prompts.limits) < 1:
        raise UsageError(f"max_new_tokens is {min(prompts.limits)}; it counts from 1")
    model.check_positions(max(n + m for n, m in zip(lengths, prompts.limits, strict=True)))
    if num_beams == 1:
        return _greedy(model, prompts)
    rule = LENGTH_RULES[beam_length_rule]
    return beam_search(model, prompts, num_beams, length_penalty, early_stopping, rule)


def pack(ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, list[int]]:
    """Padding, wherever it is, moves to the right; returns ids and lengths."""
    if mask_BT is None:
        return ids_BT, [ids_BT.shape[1]] * len(ids_BT)
    order_BT, lengths_B = packing(mask_BT)
    lengths: list[int] = lengths_B.tolist()
    return ids_BT.gather(1, order_BT)[:, : max(lengths)], lengths


def read_after(
    prefixes: Sequence[Cache | None],
    model: Flamingo,
    cache: Cache,
    ids_BT: Tensor,
    lengths: Sequence[int],
    latents_BIVD: Tensor | None,
    n_images_B: Tensor | None,
    rows: Sequence[int] | None = None,
) -> Tensor:
    """`model.prefill` into empty rows, but what row 0 of a prompt's prefix holds, its first tokens
    and pictures, is copied and not computed again.  No prefixes at all: it is `model.prefill`.

    A prefix is shorter than its prompt and was read with the prompt's flag: where the prompt has a
    picture tag and the prefix none, the prefix's `flags_R` was set to 1 before it was filled.
    """
    if not any(prefix is not None for prefix in prefixes):
        return model.prefill(cache, ids_BT, lengths, latents_BIVD, n_images_B, rows=rows)
    to = range(len(cache)) if rows is None else rows
    for prefix in {id(p): p for p in prefixes if p is not None}.values():
        of = [r for r, p in zip(to, prefixes, strict=True) if p is prefix]
        cache.adopt(of, prefix, [0] * len(of))
    held = [0 if prefix is None else prefix.lengths[0] for prefix in prefixes]
    left = [length - done for length, done in zip(lengths, held, strict=True)]
    if max(held) + max(left) > cache.capacity:
        # Side by side, the padding behind a long prefix would not fit: like with like instead.
        logits: dict[int, Tensor] = {}
        for done in set(held):
            of = [i for i, h in enumerate(held) if h == done]
            part = read_after(
                [prefixes[i] for i in of],
                model,
                cache,
                ids_BT[of, : max(lengths[i] for i in of)],
                [lengths[i] for i in of],
                None if latents_BIVD is None else latents_BIVD[of],
                None if n_images_B is None else n_images_B[of],
                [to[i] for i in of],
            )
            logits |= dict(zip(of, part, strict=True))
        return torch.stack([logits[i] for i in range(len(held))])
    held_B1 = torch.tensor(held, device=ids_BT.device)[:, None]
    place_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device).expand_as(ids_BT)
    tags_BT = ids_BT == model.config.image_token_id
    shown_B = (tags_BT & (place_BT < held_B1)).sum(dim=1)
    if latents_BIVD is not None and n_images_B is None:
        n_images_B = torch.full_like(shown_B, latents_BIVD.shape[1])
    return model.prefill(
        cache,
        _without_first(ids_BT, held_B1[:, 0])[:, : max(left)],
        left,
        None if latents_BIVD is None else _without_first(latents_BIVD, shown_B),
        None if n_images_B is None else n_images_B - shown_B,
        rows=rows,
    )


def _without_first(x_BN: Tensor, n_B: Tensor) -> Tensor:
    """(B, N, ...) with each row moved n places to the front; what moves in behind is arbitrary."""
    rows_B1 = torch.arange(len(x_BN), device=x_BN.device)[:, None]
    place_BN = torch.arange(x_BN.shape[1], device=x_BN.device) + n_B[:, None]
    return x_BN[rows_B1, place_BN.clamp(max=max(0, x_BN.shape[1] - 1))]


def _greedy(model: Flamingo, prompts: Prompts) -> list[Generated]:
    capacity = max(n + m for n, m in zip(prompts.lengths, prompts.limits, strict=True))
    cache = model.new_cache(len(prompts), capacity)
    logits_RY = prompts.read(model, cache)
    answers: dict[int, Generated] = {}
    ids: list[list[int]] = [[] for _ in prompts.lengths]
    scores = [0.0] * len(prompts)
    of_row: list[int | None] = list(range(len(prompts)))  # prompt in each cache row
    for produced in range(max(prompts.limits)):
        whole_R = logits_RY.logsumexp(dim=-1)
        best_R, token_R = prompts.forbid(logits_RY, produced).max(dim=-1)
        chosen = zip(of_row, token_R.tolist(), (best_R - whole_R).tolist(), strict=True)
        for r, (b, token, score) in enumerate(list(chosen)):
            if b is None:
                continue
            scores[b] += score
            ended: Literal["eos", "stop", "length"] | None = "eos"
            if token not in prompts.eos:
                ids[b].append(token)
                ended = prompts.finish(b, ids[b])
            if ended is not None:
                answers[b] = Generated(tuple(ids[b]), ended, scores[b])
                of_row[r] = None
                cache.free([r])
        if len(answers) == len(prompts):
            break
        running = [r for r, b in enumerate(of_row) if b is not None]
        if len(running) <= len(of_row) // 2:
            cache.select(running)
            token_R = token_R[running]
            of_row = [of_row[r] for r in running]
        logits_RY = model.step(cache, token_R[:, None])[:, 0]
    return [answers[b] for b in range(len(prompts))]
