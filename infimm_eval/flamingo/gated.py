"""Gated cross-attention: how text sees pictures (Alayrac et al. 2022, section 3.1.2, figure 4).

Knows nothing of decoders or caches: it is told which slot of latents each position sees.

Shapes: B rows, T positions, P distinct pictures, I picture slots of a row, V latents of a picture,
D their width, M text width, h heads, d head width, S slots, 2 for keys and values.

Every position sees exactly one slot.  Slot 0 is what the row saw before this chunk of text:
nothing (zeros) at the start of a sequence.  Slots 1..I are the chunk's pictures.  Slot I + 1 is
for tags beyond the row's last picture: there the original's scores are all equal, so attention is
the plain mean over the latents of all of the row's pictures.  A slot that holds their mean in every
place says that, because keys and values are linear in latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from infimm_eval.flamingo.attention import attend, join_heads, split_heads, visibility_bias
from infimm_eval.flamingo.kv_cache import MediaShape
from infimm_eval.flamingo.resampler import feed_forward
from infimm_eval.flamingo.section import Section, Size
from infimm_eval.flamingo.shown import Shown


@dataclass(frozen=True)
class GatedConfig(Section):
    """Sizes that the original codes fix and their files do not state."""

    heads: Size = 8
    dim_head: Size = 64
    ff_mult: Size = 4

    _PLACE = "'gated'"
    _IGNORED = frozenset()


class Media(NamedTuple):
    """What a chunk of text can see, for every gated block: the pictures of `shown`, and the mean of
    those that a row has.

    `bias` lets each position see its slot (`slot_bias`); `last_B` is the slot seen by a row's last
    real position, which later text inherits.  `fresh`: no row saw anything before.
    """

    shown: Shown
    mean_BD: Tensor
    bias: Tensor
    last_B: Tensor
    fresh: bool


def mean_of(shown: Shown, n_images_B: Tensor) -> Tensor:
    """The mean over the latents of a row's first `n_images_B` pictures, (B, D); 0 without any."""
    pictures, which_BI = shown.pictures_PVD, shown.which_BI
    real_BI = torch.arange(which_BI.shape[1], device=n_images_B.device) < n_images_B[:, None]
    sum_BD = (pictures.sum(dim=1)[which_BI] * real_BI[..., None]).sum(dim=1)
    count_B = n_images_B.clamp(min=1) * pictures.shape[1]
    return (sum_BD / count_B[:, None]).to(pictures.dtype)


def slots_of(tags_BT: Tensor, n_images_B: Tensor, images: int) -> Tensor:
    """The slot each position sees: the latest tag up to and including itself.

    The tag itself already sees its picture, and text before it, an end-of-chunk tag included,
    still sees the one before.  `images` is I, the slots of the widest row.
    """
    tag_BT = tags_BT.cumsum(dim=1)
    return torch.where(tag_BT > n_images_B[:, None], images + 1, tag_BT)


def slot_bias(slot_BT: Tensor, slots: int, latents: int, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, S V) for `attend`: every position sees the V latents of its slot alone."""
    open_BTS = slot_BT[..., None] == torch.arange(slots, device=slot_BT.device)
    return visibility_bias(open_BTS.repeat_interleave(latents, dim=-1), dtype)


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
        """`seen_BV2hd`, keys and values, is slot 0: all there is without `media`, and nothing
        (`None`) where those are fresh.  Returns the slot that later text sees, too."""
        bias = None
        if media is not None:
            seen_BSV2hd, bias = self.attn.slots(media, seen_BV2hd), media.bias
            rows = torch.arange(len(x_BTM), device=x_BTM.device)
            seen_BV2hd = seen_BSV2hd[rows, media.last_B]
        else:
            assert seen_BV2hd is not None
            seen_BSV2hd = seen_BV2hd[:, None]
        attended_BTM = self.attn(x_BTM, seen_BSV2hd, bias)
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

    def slots(self, media: Media, seen_BV2hd: Tensor | None) -> Tensor:
        """Keys and values of every slot, (B, S, V, 2, h, d), S = I + 2: what the rows saw before,
        the pictures, their mean.  Each is projected once, however many rows show it."""
        pictures_PV2hd = self.project(media.shown.pictures_PVD)
        mean_BV2hd = self.project(media.mean_BD)[:, None].expand(-1, *pictures_PV2hd.shape[1:])
        nothing = torch.zeros_like(mean_BV2hd[:1])
        table = torch.cat([nothing, pictures_PV2hd, mean_BV2hd])
        rows_B1 = torch.arange(len(mean_BV2hd), device=table.device)[:, None]
        which_BI, P = media.shown.which_BI, len(pictures_PV2hd)
        slots_BSV2hd = table[torch.cat([0 * rows_B1, 1 + which_BI, 1 + P + rows_B1], dim=1)]
        if seen_BV2hd is not None:
            slots_BSV2hd[:, 0] = seen_BV2hd
        return slots_BSV2hd

    def project(self, latents: Tensor) -> Tensor:
        """Keys and values of latents: (..., D) -> (..., 2, h, d)."""
        kv: Tensor = self.to_kv(latents)
        return kv.view(*kv.shape[:-1], 2, self.heads, self.dim_head)

    def forward(self, x_BTM: Tensor, seen_BSV2hd: Tensor, bias: Tensor | None) -> Tensor:
        """Without `bias` all slots are seen."""
        q_BhTd = split_heads(self.to_q(self.norm(x_BTM)), self.dim_head)
        keys, values = (
            t_BSVhd.flatten(1, 2).transpose(1, 2).to(q_BhTd.dtype)
            for t_BSVhd in seen_BSV2hd.unbind(3)
        )
        out: Tensor = self.to_out(join_heads(attend(q_BhTd, keys, values, bias=bias)))
        return out
