"""Answers: the most likely continuation of each prompt, token by token or by beam search.

Knows nothing of tokenizers: stop strings come as a function of token ids.

Shapes: B prompts, T tokens, I pictures, V latents, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.beam_search import LENGTH_RULES, beam_search
from infimm_eval.flamingo.cuda_graphs import CudaGraphs
from infimm_eval.flamingo.decoding import Generated, GenerationConfig, Prompts, Stop
from infimm_eval.flamingo.greedy_search import greedy_search
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.prefill import check_batch, pack
from infimm_eval.flamingo.shown import Latents


@torch.inference_mode()
def generate(
    model: Flamingo,
    ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    latents_BIVD: Latents | None = None,
    n_images_B: Tensor | None = None,
    *,
    config: GenerationConfig,
    prefixes: Sequence[KVCache | None] = (),
    stop: Stop | None = None,
    graphs: CudaGraphs | None = None,
    stage: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> list[Generated]:
    """Continues every prompt as `config` says; deterministic.

    Prompts may be padded on either side; a row's answer does not depend on its batch-mates.
    `latents_BIVD` and `n_images_B` as in `Flamingo.forward`: each picture is encoded once by the
    caller, whatever the number of beams.  `stop` is asked after every token.

    `prefixes` names, for each prompt, a one-row cache that already holds its beginning, or None;
    see `read_after`.  `graphs` lends memory and keeps count over several calls; see `CudaGraphs`.
    `stage` is entered around the two stages, "prefill" and "decode".

    A prompt whose scores are not finite has no answer (`finish` is "nan"); its batch-mates' stay
    as they are.  UsageError if prompt and answer exceed the model's positions, the parts of the
    batch do not belong together or an option is unknown.
    """
    _check(config)
    packed_BT, lengths = pack(ids_BT, mask_BT)
    check_batch(lengths, latents_BIVD, n_images_B, prefixes)
    limits = _limits(config, lengths)
    if not lengths:
        return []
    eos = frozenset(model.tokens.eos if config.eos_ids is None else config.eos_ids)
    banned = config.banned_ids
    if banned is None:
        banned = {model.tokens.image, model.tokens.end_of_chunk} - eos
    prompts = Prompts(
        packed_BT,
        lengths,
        padded=ids_BT.shape[1],
        latents_BIVD=latents_BIVD,
        n_images_B=n_images_B,
        prefixes=prefixes,
        search=config,
        limits=limits,
        eos=eos,
        ends=torch.tensor(sorted(eos), dtype=torch.long, device=ids_BT.device),
        banned=torch.tensor(sorted(banned), dtype=torch.long, device=ids_BT.device),
        stop=stop,
    )
    model.check_positions(max(n + m for n, m in zip(lengths, limits, strict=True)))
    return _decode(model, prompts, graphs or CudaGraphs(), stage)


def _check(config: GenerationConfig) -> None:
    if config.beam_length_rule not in LENGTH_RULES:
        raise unknown("beam_length_rule", config.beam_length_rule, LENGTH_RULES)
    if config.num_beams < 1:
        raise UsageError(f"num_beams is {config.num_beams}; it counts from 1")
    if config.early_stopping not in (True, False, "never"):
        raise unknown("early_stopping", str(config.early_stopping), ["True", "False", "never"])


def _limits(config: GenerationConfig, lengths: Sequence[int]) -> list[int]:
    """The most new tokens of every prompt."""
    given = config.max_new_tokens
    limits = list(given) if isinstance(given, Sequence) else [given] * len(lengths)
    if len(limits) != len(lengths):
        raise UsageError(f"{len(lengths)} prompts came with max_new_tokens for {len(limits)}")
    if limits and min(limits) < 1:
        raise UsageError(f"max_new_tokens is {min(limits)}; it counts from 1")
    return limits


def _decode(
    model: Flamingo,
    prompts: Prompts,
    graphs: CudaGraphs,
    stage: Callable[[str], AbstractContextManager[object]],
) -> list[Generated]:
    beams = prompts.search.num_beams
    # The last token of an answer is never fed back; all beams write into one row.
    pairs = zip(prompts.lengths, prompts.limits, strict=True)
    room = max(n + beams * (limit - 1) for n, limit in pairs)
    with graphs.lend(model, len(prompts), room) as step:
        with stage("prefill"):
            logits_RY = prompts.read(step)
        with stage("decode"):
            search = greedy_search if beams == 1 else beam_search
            return search(prompts, step, logits_RY)
