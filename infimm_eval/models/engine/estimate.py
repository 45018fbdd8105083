"""What one row of a batch takes up, roughly, from shapes alone.

Knows what a job holds and a model's shapes; computes nothing with either.
"""

from __future__ import annotations

from infimm_eval.flamingo import Flamingo
from infimm_eval.models.engine.jobs import Job


def bytes_of(model: Flamingo, job: Job) -> int:
    """An estimate for one row: cache, activations of one layer, pictures, final scores."""
    decoder, media = model.decoder, model.gates.remembered(len(model.resampler.latents))
    size = model.dtype.itemsize
    prompt, beams = len(job.ids), job.request.decoding.num_beams
    options = sum(map(len, job.options))
    places = prompt + (options or job.request.decoding.max_new_tokens * beams)
    kept = 2 * decoder.kv.layers * decoder.kv.heads * decoder.kv.head_width * places
    passing = (prompt + options) * (4 * decoder.width + 3 * decoder.ff_width)
    inner = media.heads * media.head_width
    latents = len(job.latents) * media.latents * (model.tower.width + 2 * inner)
    seen = 2 * media.blocks * media.latents * inner
    scores = 3 * 4 * decoder.vocab_size * max(beams, options)
    return (kept + passing + latents + seen) * size + scores
