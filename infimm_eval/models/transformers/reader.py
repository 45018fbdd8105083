"""The reader: prompts into KV caches by the model's own forward, common beginnings once.

Knows tensors; which prompts are read together, and what is said after them, is not its business.

Shapes: B prompts, T tokens, A axes of positions, L places of a cache, Y vocabulary.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from infimm_eval.flamingo.attention import any_shape
from infimm_eval.models.shared.beginnings import beginnings_around
from infimm_eval.models.shared.memory import free_bytes
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.kv_cache import gathered, new_cache, size_of
from infimm_eval.models.transformers.requests import Tokens

SHARE = 8
"""The part of the memory that is free at first which the KV caches of beginnings may take."""


@dataclass(slots=True, eq=False)
class Read:
    """Prompts that were read: their KV cache, its mask (B, L), their last positions (A, B) and the
    scores (B, Y) of what comes next."""

    cache: Any
    mask: Tensor
    positions: Tensor
    logits: Tensor


class Reader:
    """Reads prompts with one model, whose pictures are ``images``."""

    def __init__(self, model: Any, images: ImageEncoder, statistics: Statistics) -> None:
        self.model = model
        self.images = images
        self.statistics = statistics
        self._image = _image_token(model.config)
        self._budget = free_bytes(model.device) // SHARE
        self._prefixes: OrderedDict[bytes, Any] = OrderedDict()
        reads_less = "logits_to_keep" in signature(model.forward).parameters
        self._last: dict[str, int] = {"logits_to_keep": 1} if reads_less else {}

    def __contains__(self, name: object) -> bool:
        """Whether the beginning of this name is read already."""
        return name in self._prefixes

    def clear(self) -> None:
        """Frees the beginnings that are kept."""
        self._prefixes.clear()

    def give_way(self) -> bool:
        """Frees them where memory gives out; whether there were any."""
        kept = bool(self._prefixes)
        self._prefixes.clear()
        return kept

    def find_beginnings(self, prompt: Tokens) -> None:
        """Every beginning that the prompt may share; none where its pictures cannot be told apart
        among its tokens."""
        if (spans := self._spans(prompt)) is not None:
            prompt.beginnings = beginnings_around(
                prompt.ids,
                [(*span, name) for span, name in zip(spans, prompt.rows, strict=True)],
            )

    def read(self, prompts: Sequence[Tokens]) -> list[tuple[list[int], Read]]:
        """All of them, those that share a beginning or a length together: their places among
        ``prompts``, and what they were read to."""
        groups: dict[Any, list[int]] = {}
        for place, prompt in enumerate(prompts):
            name = prompt.shared.name if prompt.shared else None
            groups.setdefault((name, len(prompt.ids)), []).append(place)
        return [
            (places, self._read_alike([prompts[place] for place in places]))
            for places in groups.values()
        ]

    def _read_alike(self, prompts: Sequence[Tokens]) -> Read:
        prefix = prompts[0].shared
        if prefix is None:
            return self.read_after(new_cache(), 0, prompts)
        known = prefix.name in self._prefixes
        self.statistics.count("prefix_tokens_saved", (len(prompts) - (not known)) * prefix.length)
        if not known:
            self.statistics.count("prefixes_read")
            self._prefixes[prefix.name] = self.beginning(prompts[0], prefix.length)
        self._prefixes.move_to_end(prefix.name)
        sizes = [size_of(cache) for cache in self._prefixes.values()]  # the oldest first
        while len(self._prefixes) > 1 and sum(sizes) > self._budget:
            self._prefixes.popitem(last=False)
            del sizes[0]
        copies = [(self._prefixes[prefix.name], [0] * len(prompts))]
        return self.read_after(gathered(copies, prefix.length), prefix.length, prompts)

    def read_after(
        self, cache: Any, start: int, prompts: Sequence[Tokens], *, pad: int = 0
    ) -> Read:
        """Prompts of one length, whose first ``start`` tokens are in the cache, with ``pad`` masked
        places before the rest of them."""
        ids = torch.tensor([[0] * pad + prompt.ids[start:] for prompt in prompts])
        mask = torch.ones(len(prompts), start + ids.shape[1], dtype=torch.long)
        mask[:, start : start + pad] = 0
        first = torch.ones(len(prompts[0].positions), len(prompts), pad, dtype=torch.long)
        positions = torch.stack([prompt.positions[:, start:] for prompt in prompts], dim=1)
        features = [each for prompt in prompts for each in self._features(prompt, start)]
        mask = mask.to(self.model.device)
        output = self.forward(ids, mask, torch.cat([first, positions], dim=-1), cache, features)
        return Read(
            output.past_key_values, mask, positions[..., -1].to(mask.device), output.logits[:, -1]
        )

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        cache: Any,
        features: Sequence[Tensor] = (),
        *,
        scores: Literal["last", "all"] = "last",
    ) -> Any:
        """The model's output for (B, T) tokens at positions (A, B, T) after its cache, with the
        scores of ``all`` of them or the ``last``."""
        device = self.model.device
        shown: dict[str, Tensor] = {}
        if features:  # the tower gives these, whatever it is shown
            shown = {"pixel_values": torch.zeros(1, dtype=self.model.dtype, device=device)}
        given = self.images.giving(features) if features else nullcontext()
        placed = positions[0] if len(positions) == 1 else positions
        with torch.inference_mode(), any_shape(), given:
            return self.model(
                input_ids=ids.to(device),
                attention_mask=mask,
                position_ids=placed.to(device),
                past_key_values=cache,
                use_cache=True,
                **shown,
                **(self._last if scores == "last" else {}),
            )

    def beginning(self, prompt: Tokens, length: int) -> Any:
        """The KV cache of a prompt's first tokens."""
        spans = self._spans(prompt) or []
        shown = sum(end <= length for _, end in spans)
        start = Tokens(
            prompt.ids[:length], prompt.positions[:, :length], features=prompt.features[:shown]
        )
        return self.read_after(new_cache(), 0, [start]).cache

    def _features(self, prompt: Tokens, start: int) -> Sequence[Tensor]:
        """Of the rows that stand behind the first ``start`` tokens."""
        if not start:
            return prompt.features
        spans = self._spans(prompt) or []
        return prompt.features[sum(end <= start for _, end in spans) :]

    def _spans(self, prompt: Tokens) -> list[tuple[int, int]] | None:
        """From where to where each row's features stand among the tokens: as many of them as the
        features' own, which no other may part."""
        places = [place for place, token in enumerate(prompt.ids) if token == self._image]
        ends = list(accumulate(features.shape[1] for features in prompt.features))
        if (ends[-1] if ends else 0) != len(places):
            return None
        starts = [0, *ends[:-1]] if ends else []
        return [(places[a], places[b - 1] + 1) for a, b in zip(starts, ends, strict=True)]


def _image_token(config: Any) -> int | None:
    named = (getattr(config, name, None) for name in ("image_token_id", "image_token_index"))
    return next((id for id in named if isinstance(id, int)), None)


def below(parts: Sequence[tuple[Read, Sequence[int]]]) -> Read:
    """The named rows of several one below another, as wide as the longest of them."""
    seen = [read.mask[list(rows)] for read, rows in parts]
    wide = max(mask.shape[1] - int(mask.any(0).long().argmax()) for mask in seen)
    joined = seen[0].new_zeros(sum(map(len, seen)), wide)
    start = 0
    for mask in seen:
        width = min(wide, mask.shape[1])
        joined[start : start + len(mask), wide - width :] = mask[:, mask.shape[1] - width :]
        start += len(mask)
    return Read(
        gathered([(read.cache, rows) for read, rows in parts], wide),
        joined,
        torch.cat([read.positions[:, list(rows)] for read, rows in parts], dim=1),
        torch.cat([read.logits[list(rows)] for read, rows in parts]),
    )
