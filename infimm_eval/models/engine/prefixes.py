"""Beginnings that several prompts share: which they are, and the caches they were read into.

Finds them in token ids and picture digests; nobody has to say that examples are the same.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, KVCache
from infimm_eval.models.engine.statistics import Statistics

BLOCK = 16
"""Beginnings are compared in steps of so many tokens."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``length`` tokens of a prompt; equal ``name``, equal numbers inside the model."""

    name: bytes
    length: int


def beginnings(ids: Sequence[int], image_id: int, pictures: Sequence[str]) -> tuple[Prefix, ...]:
    """Every beginning in whole blocks that leaves at least one token to read.

    Each picture tag counts as its picture.  A prompt with a picture anywhere shares nothing with
    one that has none: its gated blocks act on text before the first tag too.
    """
    digest = blake2b(b"pictures" if pictures else b"text", digest_size=16)
    shown = iter(pictures)
    found = []
    for start in range(0, (len(ids) - 1) // BLOCK * BLOCK, BLOCK):
        for token in ids[start : start + BLOCK]:
            digest.update(token.to_bytes(4, "little"))
            if token == image_id:
                digest.update(next(shown).encode())
        found.append(Prefix(digest.digest(), start + BLOCK))
    return tuple(found)


def shared(
    prompts: Iterable[Sequence[Prefix]], held: Container[bytes], *, worth: int
) -> list[Prefix | None]:
    """For each prompt, the beginning whose single reading saves the most tokens among them all;
    ``None`` where that is fewer than ``worth``.  One that is ``held`` need not be read at all."""
    prompts = list(prompts)
    times = Counter(prefix.name for prompt in prompts for prefix in prompt)

    def saved(prefix: Prefix) -> int:
        return (times[prefix.name] - (prefix.name not in held)) * prefix.length

    best = [max(prompt, key=saved, default=None) for prompt in prompts]
    return [prefix if prefix is not None and saved(prefix) >= worth else None for prefix in best]


class Kept:
    """The last few beginnings that were read, as one-row caches."""

    def __init__(self, model: Flamingo, most: int, statistics: Statistics) -> None:
        self.model = model
        self.most = most
        self.statistics = statistics
        self._held: OrderedDict[bytes, KVCache] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def get(self, prefix: Prefix, ids: Sequence[int], latents: Sequence[Tensor]) -> KVCache:
        """The cache of a prompt's beginning, read from its ``ids`` and ``latents`` if need be."""
        if prefix.name not in self._held:
            self._held[prefix.name] = self._read(ids[: prefix.length], latents)
            while len(self._held) > self.most:
                self._held.popitem(last=False)
        else:
            self.statistics.count("prefix_tokens_saved", prefix.length)
        self._held.move_to_end(prefix.name)
        return self._held[prefix.name]

    def _read(self, ids: Sequence[int], latents: Sequence[Tensor]) -> KVCache:
        self.statistics.count("prefixes_read")
        cache = self.model.new_cache(1, len(ids))
        shown = ids.count(self.model.config.image_token_id)
        # A picture further on in the prompt makes the gated blocks act on its beginning too.
        cache.flags_R.fill_(bool(latents))
        pictures = torch.stack(list(latents[:shown]))[None] if shown else None
        on_device = torch.tensor([list(ids)], device=self.model.device)
        self.model.prefill(cache, on_device, [len(ids)], pictures)
        return cache
