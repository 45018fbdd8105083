"""The prefix cache: beginnings that several prompts share, read once into KV caches.

Knows which beginning is read, not which prompts share it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, KVCache
from infimm_eval.models.flamingo.requests import Job
from infimm_eval.models.shared.beginnings import Prefix
from infimm_eval.models.shared.statistics import Statistics


class PrefixCache:
    """The last few beginnings that were read, ``most`` at a time, as one-row KV caches."""

    def __init__(self, model: Flamingo, most: int, statistics: Statistics) -> None:
        self.model = model
        self.most = most
        self.statistics = statistics
        self._held: OrderedDict[bytes, KVCache] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        """Whether the beginning of this name is read already."""
        return name in self._held

    def clear(self) -> None:
        """Frees all of them."""
        self._held.clear()

    def of(self, jobs: Iterable[Job]) -> list[KVCache | None]:
        """The cache that each job goes on from; None for one that shares nothing."""
        with self.statistics.stage("prefill"):
            return [
                self.get(job.shared, job.ids, job.latents) if job.shared else None for job in jobs
            ]

    def get(self, prefix: Prefix, ids: Sequence[int], latents: Sequence[Tensor]) -> KVCache:
        """The KV cache of a prompt's beginning; read from ``ids`` and ``latents`` if need be."""
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
        shown = ids.count(self.model.tokens.image)
        # A picture further on in the prompt makes the gated blocks act on its beginning too.
        cache.flags_R.fill_(bool(latents))
        pictures = torch.stack(list(latents[:shown]))[None] if shown else None
        on_device = torch.tensor([list(ids)], device=self.model.device)
        self.model.prefill(cache, on_device, [len(ids)], pictures)
        return cache
