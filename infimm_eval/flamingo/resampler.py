"""The perceiver resampler: any number of visual tokens in, a fixed number of latents out
(Alayrac et al. 2022, arXiv:2204.14198, section 3.1 and figure 5).

Knows nothing of pictures or text.

Shapes: I pictures, N visual tokens, V latents, D width, H heads, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infimm_eval.flamingo.attention import attend, join_heads, split_heads
from infimm_eval.flamingo.section import Section, Size


@dataclass(frozen=True)
class ResamplerConfig(Section):
    """Sizes that the original codes fix and their files do not state; `latents` is V, tokens per
    picture."""

    heads: Size = 8
    dim_head: Size = 64
    depth: Size = 6
    latents: Size = 64
    ff_mult: Size = 4

    _PLACE = "'resampler'"
    _IGNORED = frozenset()


class PerceiverResampler(nn.Module):
    """Learned latents read each picture by itself: no time or frame embedding."""

    def __init__(self, width: int, config: ResamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.latents = nn.Parameter(torch.empty(config.latents, width))
        nn.init.normal_(self.latents)
        self.layers = nn.ModuleList(
            nn.ModuleList([_Attention(width, config), feed_forward(width, config.ff_mult)])
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x_IND: Tensor) -> Tensor:
        """(I, N, D) -> (I, V, D)."""
        latents_IVD: Tensor = self.latents.expand(len(x_IND), -1, -1)
        layer: Any
        for layer in self.layers:
            attention, ff = layer
            latents_IVD = latents_IVD + attention(x_IND, latents_IVD)
            latents_IVD = latents_IVD + ff(latents_IVD)
        latents_IVD = self.norm(latents_IVD)
        return latents_IVD


def feed_forward(width: int, mult: int) -> nn.Sequential:
    """LayerNorm, then two bias-free layers around an exact GELU."""
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, width * mult, bias=False),
        nn.GELU(),
        nn.Linear(width * mult, width, bias=False),
    )


class _Attention(nn.Module):
    """Queries are the normed latents; keys and values the normed visual tokens, then latents."""

    def __init__(self, width: int, config: ResamplerConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.dim_head = config.dim_head
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, x_IND: Tensor, latents_IVD: Tensor) -> Tensor:
        latents_IVD = self.norm_latents(latents_IVD)
        read = torch.cat([self.norm_media(x_IND), latents_IVD], dim=1)
        k, v = self.to_kv(read).chunk(2, dim=-1)
        q_IHVd, k_IHSd, v_IHSd = (
            split_heads(y, self.dim_head) for y in (self.to_q(latents_IVD), k, v)
        )
        out_IVD: Tensor = self.to_out(join_heads(attend(q_IHVd, k_IHSd, v_IHSd)))
        return out_IVD
