"""Gated cross-attention: how text sees pictures (Alayrac et al. 2022, section 3.1.2, figure 4).

Knows nothing of decoders or caches, nor of which latents a position sees: it is told.

Shapes: B rows, T positions, N segments of them that see the same, L positions of the longest, E
pictures to be seen, V latents of a picture, D their width, M text width, h heads, d head width, 2
for keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from infimm_eval.flamingo.attention import attend, join_heads, split_heads
from infimm_eval.flamingo.kv_cache import MediaShape
from infimm_eval.flamingo.media import Media, Segments
from infimm_eval.flamingo.resampler import feed_forward
from infimm_eval.flamingo.section import Section, Size


@dataclass(frozen=True)
class GatedConfig(Section):
    """Sizes that the original codes fix and their files do not state."""

    heads: Size = 8
    dim_head: Size = 64
    ff_mult: Size = 4

    _PLACE = "'gated'"
    _IGNORED = frozenset()


Acting: TypeAlias = Callable[[Tensor], Tensor]
"""Which rows have a picture tag anywhere in them (1 or 0) -> f of `GatedBlock`, 1 where it acts."""


def on_tagged_rows(tagged_B: Tensor) -> Tensor:
    """InfiMM's rule: a row without a tag is the plain language model.  As the feed-forward also
    acts on text before the first tag, the logits there depend on a tag further on."""
    return tagged_B


def on_every_row(tagged_B: Tensor) -> Tensor:
    """Flamingo's and OpenFlamingo's rule: the feed-forward acts whether there are pictures or not,
    and text never depends on what comes after it."""
    return torch.ones_like(tagged_B)


class GatedBlocks(nn.ModuleDict):
    """A decoder's gated blocks, under the index of the layer that each stands before."""

    def __init__(
        self,
        layers: Iterable[int],
        text_width: int,
        media_width: int,
        config: GatedConfig,
        acting: Acting,
    ) -> None:
        super().__init__(
            {str(i): GatedBlock(text_width, media_width, config) for i in sorted(layers)}
        )
        self.config = config
        self.acting = acting

    def remembered(self, latents: int) -> MediaShape:
        """What a KV cache must hold of a picture of so many latents."""
        return MediaShape(len(self), latents, self.config.heads, self.config.dim_head)


class GatedBlock(nn.Module):
    """x += f tanh(attn_gate) attn(x, media);  x += f tanh(ff_gate) ff(x).

    f is 1 for a row that the blocks act on and 0 for another; see `Acting`.
    """

    def __init__(self, text_width: int, media_width: int, config: GatedConfig) -> None:
        super().__init__()
        self.attn = _CrossAttention(text_width, media_width, config)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff = feed_forward(text_width, config.ff_mult)
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(
        self, x_BTM: Tensor, flag_B11: Tensor, seen_BV2hd: Tensor | None, media: Media | None
    ) -> tuple[Tensor, Tensor]:
        """`seen_BV2hd`, keys and values, is what the rows saw before: all there is to be seen
        without `media`, and nothing (`None`) where those are fresh.  Returns what later text sees,
        too."""
        if media is None:
            assert seen_BV2hd is not None
            attended_BTM = self.attn(x_BTM, seen_BV2hd)
        else:
            table = self.attn.table(media, seen_BV2hd)
            attended_BTM = self.attn(x_BTM, table[media.entry_N], media.segments)
            seen_BV2hd = table[media.last_B]
        x_BTM = x_BTM.addcmul(attended_BTM, (flag_B11 * self.attn_gate.tanh()).to(x_BTM.dtype))
        x_BTM = x_BTM.addcmul(self.ff(x_BTM), (flag_B11 * self.ff_gate.tanh()).to(x_BTM.dtype))
        return x_BTM, seen_BV2hd


class _CrossAttention(nn.Module):
    """Text is normed here; media are not, the resampler's last norm is theirs.  No positions."""

    def __init__(self, text_width: int, media_width: int, config: GatedConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.heads, self.dim_head = config.heads, config.dim_head
        self.norm = nn.LayerNorm(text_width)
        self.to_q = nn.Linear(text_width, inner, bias=False)
        self.to_kv = nn.Linear(media_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, text_width, bias=False)

    def table(self, media: Media, seen_BV2hd: Tensor | None) -> Tensor:
        """Keys and values of all that there is to be seen, (1 or B, then E, V, 2, h, d): each
        picture is projected once, however many rows show it."""
        kv_EV2hd = self.project(media.latents_EVD)
        if seen_BV2hd is None:
            seen_BV2hd = kv_EV2hd.new_zeros(1, *kv_EV2hd.shape[1:])
        return torch.cat([seen_BV2hd.to(kv_EV2hd.dtype), kv_EV2hd])

    def project(self, latents: Tensor) -> Tensor:
        """Keys and values of latents: (..., D) -> (..., 2, h, d)."""
        kv: Tensor = self.to_kv(latents)
        return kv.view(*kv.shape[:-1], 2, self.heads, self.dim_head)

    def forward(
        self, x_BTM: Tensor, seen_NV2hd: Tensor, segments: Segments | None = None
    ) -> Tensor:
        """Each of the `segments`, or each row where there are none, sees its latents."""
        q_BTi = self.to_q(self.norm(x_BTM))
        q_NLi = q_BTi if segments is None else segments.cut(q_BTi)
        q_NhLd = split_heads(q_NLi, self.dim_head)
        keys, values = (t_NVhd.transpose(1, 2).to(q_NhLd.dtype) for t_NVhd in seen_NV2hd.unbind(2))
        attended_NLi = join_heads(attend(q_NhLd, keys, values))
        out: Tensor = self.to_out(attended_NLi if segments is None else segments.join(attended_NLi))
        return out
