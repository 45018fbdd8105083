"""The trial: whether an architecture says from a KV cache, read in parts, what it says by itself.

Knows scores; what is done where it does not is the engine's business.
"""

from __future__ import annotations

import torch

from infimm_eval.models.shared.batch_limiter import lacks_memory
from infimm_eval.models.shared.refusals import ASTRAY
from infimm_eval.models.transformers.generate import Generation
from infimm_eval.models.transformers.kv_cache import gathered, new_cache
from infimm_eval.models.transformers.reader import Reader, below
from infimm_eval.models.transformers.requests import Job, Tokens
from infimm_eval.models.transformers.towers import close

STEPS = 3
"""Tokens that are compared."""
PAD = 3
"""Masked places that the part after the beginning has before it, as rows of other lengths do."""


def goes_on(job: Job, prompt: Tokens, generation: Generation, reader: Reader) -> bool:
    """Whether the model's scores are the same when the prompt's beginning is read first and the
    rest after it, in a row that has company, as those of ``model.generate``."""
    try:
        plain, ids = generation.scores(job, STEPS)
        own = _scores(prompt, ids, reader)
    except ASTRAY as error:
        if isinstance(error, RuntimeError) and lacks_memory(error):
            raise
        return False
    return all(close(one, other) for one, other in zip(own, plain, strict=True))


def _scores(prompt: Tokens, ids: list[int], reader: Reader) -> list[torch.Tensor]:
    """Of what comes next (Y), before each of these ids."""
    half = max(
        (start.length for start in prompt.beginnings if 2 * start.length <= len(prompt.ids)),
        default=0,
    )
    begun = gathered([(reader.beginning(prompt, half), [0])], half) if half else new_cache()
    read = below([(reader.read_after(begun, half, [prompt], pad=PAD), [0])])
    scores = [read.logits[0]]
    mask, positions = read.mask, read.positions
    for id in ids[:-1]:
        mask = torch.cat([mask, mask.new_ones(1, 1)], dim=1)
        positions = positions + 1
        output = reader.forward(torch.tensor([[id]]), mask, positions[..., None], read.cache)
        scores.append(output.logits[0, -1])
    return scores
