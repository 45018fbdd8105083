"""Answers: the most likely continuation of each prompt, token by token or by beam search.

Knows nothing of tokenizers: stop strings come as a function of token ids.

Shapes: B prompts, T tokens, I pictures, V latents, D their width, R cache rows, Y vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from infimm_eval.errors import MachineryError, UsageError, unknown
from infimm_eval.flamingo.cuda_graphs import CudaGraphs, Steps
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.prefill import check_batch, pack, read_after

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
    ends: Tensor
    banned: Tensor
    stop: Stop | None
    prefixes: Sequence[KVCache | None] = ()

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, step: Steps) -> Tensor:
        """The prompts into the first rows of an empty cache; logits after each row, (R, Y)."""
        pictures = self.latents_BIVD, self.n_images_B
        rows = range(len(self))
        logits_BY = read_after(
            self.prefixes, step.model, step.cache, self.ids_BT, self.lengths, *pictures, rows
        )
        spare = len(step.cache) - len(self)
        return F.pad(logits_BY, (0, 0, 0, spare)) if spare else logits_BY

    def in_rows(self, rows: int) -> list[int | None]:
        """Which prompt is in each of so many rows; `None` where there is none."""
        return [*range(len(self)), *[None] * (rows - len(self))]

    def forbid(self, scores: Tensor, produced: int) -> Tensor:
        """Banned tokens, and the end before `least` tokens, become impossible, (..., Y)."""
        scores.index_fill_(-1, self.banned, -torch.inf)
        if produced < self.least:
            scores.index_fill_(-1, self.ends, -torch.inf)
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
    prefixes: Sequence[KVCache | None] = (),
    graphs: CudaGraphs | None = None,
    stage: Callable[[str], AbstractContextManager[object]] = nullcontext,
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
    see `read_after`.  `graphs` lends memory and keeps count over several calls; see `CudaGraphs`.
    `stage` is entered around the two stages, "prefill" and "decode".

    UsageError if prompt and answer exceed the model's positions, the parts of the batch do not
    belong together or an option is unknown; MachineryError where the model's scores are no numbers.
    """
    from infimm_eval.flamingo.beam_search import LENGTH_RULES, beam_search

    if beam_length_rule not in LENGTH_RULES:
        raise unknown("beam_length_rule", beam_length_rule, LENGTH_RULES)
    if num_beams < 1:
        raise UsageError(f"num_beams is {num_beams}; it counts from 1")
    if early_stopping not in (True, False, "never"):
        raise unknown("early_stopping", str(early_stopping), ["True", "False", "never"])
    tokens = model.tokens
    eos = frozenset(tokens.eos if eos_ids is None else eos_ids)
    if banned_ids is None:
        banned_ids = {tokens.image, tokens.end_of_chunk} - eos
    B, T = ids_BT.shape
    packed_BT, lengths = pack(ids_BT, mask_BT)
    check_batch(lengths, latents_BIVD, n_images_B, prefixes)
    limits = list(max_new_tokens) if isinstance(max_new_tokens, Sequence) else [max_new_tokens] * B
    if len(limits) != B:
        raise UsageError(f"{B} prompts came with max_new_tokens for {len(limits)}")
    if not B:
        return []
    prompts = Prompts(
        packed_BT,
        lengths,
        padded=T,
        latents_BIVD=latents_BIVD,
        n_images_B=n_images_B,
        limits=limits,
        least=min_new_tokens,
        eos=eos,
        ends=torch.tensor(sorted(eos), dtype=torch.long, device=ids_BT.device),
        banned=torch.tensor(sorted(banned_ids), dtype=torch.long, device=ids_BT.device),
        stop=stop,
        prefixes=prefixes,
    )
    if min(prompts.limits) < 1:
        raise UsageError(f"max_new_tokens is {min(prompts.limits)}; it counts from 1")
    model.check_positions(max(n + m for n, m in zip(lengths, prompts.limits, strict=True)))
    # The last token of an answer is never fed back; all beams write into one row.
    room = [n + num_beams * (m - 1) for n, m in zip(lengths, prompts.limits, strict=True)]
    with (graphs or CudaGraphs()).lend(model, B, max(room)) as step:
        with stage("prefill"):
            logits_RY = prompts.read(step)
        with stage("decode"):
            if num_beams == 1:
                return _greedy(prompts, step, logits_RY)
            rule = LENGTH_RULES[beam_length_rule]
            search = num_beams, length_penalty, early_stopping, rule
            return beam_search(prompts, step, logits_RY, *search)


def check_score(score: float, prompt: int) -> None:
    """MachineryError for NaN, from which no token could be chosen but an arbitrary one."""
    if math.isnan(score):
        raise MachineryError(
            f"the model's scores for prompt {prompt} of a batch are not numbers (NaN); "
            "a damaged checkpoint, or too narrow a dtype for it"
        )


def _greedy(prompts: Prompts, step: Steps, logits_RY: Tensor) -> list[Generated]:
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
        gone = []
        for r, (b, token, score) in enumerate(zip(list(of_row), *told, strict=True)):
            if b is None:
                continue
            token = int(token)
            check_score(score, b)
            scores[b] += score
            ended: Literal["eos", "stop", "length"] | None = "eos"
            if token not in prompts.eos:
                ids[b].append(token)
                ended = prompts.finish(b, ids[b])
            if ended is not None:
                answers[b] = Generated(tuple(ids[b]), ended, scores[b])
                of_row[r] = None
                gone.append(r)
        if len(answers) == len(prompts):
            break
        if gone:
            cache.free(gone)
        running = [r for r, b in enumerate(of_row) if b is not None]
        if len(running) <= len(of_row) // 2 and not step.recordable:
            cache.select(running)
            token_R = token_R[running]
            of_row = [of_row[r] for r in running]
        logits_RY = step(token_R[:, None])[:, 0]
    return [answers[b] for b in range(len(prompts))]
