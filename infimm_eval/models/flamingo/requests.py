"""A request as this backend works on it: a prompt in token ids, its pictures, its options.

Knows lengths, shapes and settings of the search; computes nothing with a model.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from infimm_eval.flamingo import Flamingo
from infimm_eval.models.shared.beginnings import Prefix
from infimm_eval.types import Image, Request


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """One prompt in token ids with its pictures.

    ``pictures`` and ``digests`` are those that the prompt's tags stand for, in order; ``latents``
    come once they are encoded.  ``eos`` ends the answer, ``banned`` is never said.  ``options`` are
    the continuations to rank, in ids.  ``shared`` is that of the ``beginnings`` which is read once
    for several prompts.  ``written`` is the prompt in letters.
    """

    request: Request
    ids: list[int]
    eos: frozenset[int]
    banned: frozenset[int]
    pictures: tuple[Image, ...] = ()
    digests: tuple[str, ...] = ()
    options: tuple[tuple[int, ...], ...] = ()
    beginnings: tuple[Prefix, ...] = ()
    shared: Prefix | None = None
    written: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    latents: list[Tensor] = field(default_factory=list)
    arrival: int = 0

    @property
    def cost(self) -> int:
        """Places in the cache, the pictures' latents included: what its row takes up."""
        decoding = self.request.decoding
        options = sum(map(len, self.options))
        answer = 0 if self.options else decoding.max_new_tokens * decoding.num_beams
        return len(self.ids) + options + answer + sum(len(latents) for latents in self.latents)

    @property
    def greedy(self) -> bool:
        """Whether its answer is decoded token by token."""
        return self.request.decoding.num_beams == 1

    @property
    def tokens(self) -> int:
        """Prompt and longest answer together, as one greedy row."""
        return len(self.ids) + self.request.decoding.max_new_tokens

    @property
    def group(self) -> Hashable:
        """Jobs that want the same search can be in one batch."""
        d = self.request.decoding
        return (d.num_beams, d.length_penalty, d.min_new_tokens, d.stop, self.eos, self.banned)


def widest(jobs: Sequence[Job]) -> int:
    """The most pictures in one prompt."""
    return max((len(job.latents) for job in jobs), default=0)


def bytes_of(model: Flamingo, job: Job) -> int:
    """An estimate of what one row takes up, from shapes alone: cache, activations of one layer,
    biases of its attention, pictures, final scores."""
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
    # ALiBi's, as it is computed in float32, where it is masked, and as it is added.
    biases = 0 if decoder.position_bias is None else decoder.heads * prompt**2 * (4 + 4 + size)
    return (kept + passing + latents + seen) * size + scores + biases
