"""What one row of a batch takes up, roughly, from shapes alone.

Knows what a job holds and a model's shapes; computes nothing with either.
"""

from __future__ import annotations

from infimm_eval.flamingo import Flamingo
from infimm_eval.models.engine.jobs import Job


def bytes_of(model: Flamingo, job: Job) -> int:
    """An estimate for one row: cache, activations of one layer, pictures, final scores."""
    c = model.config
    language = c.language
    size = model.dtype.itemsize
    prompt, beams = len(job.ids), job.request.decoding.num_beams
    options = sum(map(len, job.options))
    places = prompt + (options or job.request.decoding.max_new_tokens * beams)
    kept = 2 * language.num_hidden_layers * language.kv_heads * language.head_width * places
    passing = (prompt + options) * (4 * language.hidden_size + 3 * language.intermediate_size)
    inner = c.gated.heads * c.gated.dim_head
    latents = len(job.latents) * c.resampler.latents * (c.visual.width + 2 * inner)
    seen = 2 * len(c.gated_layers) * c.resampler.latents * inner
    scores = 3 * 4 * language.vocab_size * max(beams, options)
    return (kept + passing + latents + seen) * size + scores
