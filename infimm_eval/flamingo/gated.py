"""Gated cross-attention: how text sees pictures (Alayrac et al. 2022, section 3.1.2, figure 4).

Knows nothing of decoders or caches: it is told which slot of latents each position sees.

Shapes: B rows, T positions, I picture slots of a row, V latents of a picture, D their width,
M text width, h heads, d head width, S slots.

Every position sees exactly one slot.  Slot 0 is what the row saw before this chunk of text:
nothing (zeros) at the start of a sequence.  Slots 1..I are the chunk's pictures.  Slot I + 1 is
for tags beyond the row's last picture: there the original's scores are all equal, so attention is
the plain mean over the latents of all of the row's pictures.  Zero keys and mean values say that.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from infimm_eval.flamingo.attention import attend, bias_of, join_heads, split_heads
from infimm_eval.flamingo.config import GatedConfig
from infimm_eval.flamingo.resampler import feed_forward


class Seen(NamedTuple):
    """Projected keys and values of the one slot that each row's latest text sees: (B, h, V, d)."""

    keys: Tensor
    values: Tensor


class Media(NamedTuple):
    """What a chunk of text can see, for every gated block.

    `bias` lets each position see its slot (`slot_bias`); `last_B` is the slot seen by a row's last
    real position, which later text inherits.
    """

    latents_BIVD: Tensor
    n_images_B: Tensor
    bias: Tensor
    last_B: Tensor


def slots_of(tags_BT: Tensor, n_images_B: Tensor, images: int) -> Tensor:
    """The slot each position sees: the latest tag up to and including itself.

    The tag itself already sees its picture, and text before it, an end-of-chunk tag included,
    still sees the one before.  `images` is I, the slots of the widest row.
    """
    tag_BT = tags_BT.cumsum(dim=1)
    return torch.where(tag_BT > n_images_B[:, None], images + 1, tag_BT)


def slot_bias(slot_BT: Tensor, images: int, latents: int, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, S V) for `attend`: every position sees the V latents of its slot alone."""
    open_BTS = slot_BT[..., None] == torch.arange(images + 2, device=slot_BT.device)
    return bias_of(open_BTS.repeat_interleave(latents, dim=-1), dtype)


class GatedBlock(nn.Module):
    """x += f tanh(attn_gate) attn(x, media);  x += f tanh(ff_gate) ff(x).

    f is 1 for a row with a picture tag anywhere in it and 0 for a row without, which then is the
    plain language model.  With f = 1 the feed-forward also acts on text before the first tag, as
    the released weights were trained: the logits there depend on a tag further on.
    """

    def __init__(self, text_width: int, media_width: int, config: GatedConfig) -> None:
        super().__init__()
        self.attn = _CrossAttention(text_width, media_width, config)
        self.attn_gate = nn.Parameter(torch.zeros(1))
        self.ff = feed_forward(text_width, config.ff_mult)
        self.ff_gate = nn.Parameter(torch.zeros(1))

    def forward(
        self, x_BTM: Tensor, flag_B11: Tensor, seen: Seen, media: Media | None
    ) -> tuple[Tensor, Seen]:
        """`seen` is slot 0.  Without `media` all positions see it.  Returns what comes after."""
        bias = None
        keys, values = seen
        if media is not None:
            keys, values = self._slots(seen, media)
            bias = media.bias
            rows = torch.arange(len(keys), device=x_BTM.device)
            seen = Seen(keys[rows, :, media.last_B], values[rows, :, media.last_B])
            keys, values = keys.flatten(2, 3), values.flatten(2, 3)
        attended_BTM = self.attn(x_BTM, keys, values, bias)
        x_BTM = x_BTM.addcmul(attended_BTM, (flag_B11 * self.attn_gate.tanh()).to(x_BTM.dtype))
        x_BTM = x_BTM.addcmul(self.ff(x_BTM), (flag_B11 * self.ff_gate.tanh()).to(x_BTM.dtype))
        return x_BTM, seen

    def _slots(self, seen: Seen, media: Media) -> Seen:
        """All slots' keys and values, (B, h, S, V, d)."""
        keys_BhIVd, values_BhIVd = self.attn.project(media.latents_BIVD)
        B, h, I, V, d = keys_BhIVd.shape  # noqa: E741
        n_B = media.n_images_B
        real_BI = torch.arange(I, device=n_B.device) < n_B[:, None]
        sum_Bhd = (values_BhIVd * real_BI[:, None, :, None, None]).sum(dim=(2, 3))
        mean_Bhd = sum_Bhd / (n_B.clamp(min=1) * V)[:, None, None]
        mean = mean_Bhd.to(values_BhIVd.dtype)[:, :, None, None].expand(B, h, 1, V, d)
        before = [t.to(keys_BhIVd.dtype)[:, :, None] for t in seen]
        return Seen(
            torch.cat([before[0], keys_BhIVd, torch.zeros_like(mean)], dim=2),
            torch.cat([before[1], values_BhIVd, mean], dim=2),
        )


class _CrossAttention(nn.Module):
    """Text is normed here; media are not, the resampler's last norm is theirs.  No positions."""

    def __init__(self, text_width: int, media_width: int, config: GatedConfig) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self.dim_head = config.dim_head
        self.norm = nn.LayerNorm(text_width)
        self.to_q = nn.Linear(text_width, inner, bias=False)
        self.to_kv = nn.Linear(media_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, text_width, bias=False)

    def project(self, latents_BIVD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of every picture, each (B, h, I, V, d): once per sequence."""
        kv_BIVhd = self.to_kv(latents_BIVD).unflatten(-1, (2, -1, self.dim_head))
        keys, values = kv_BIVhd.movedim((3, 4), (0, 2)).unbind(0)
        return keys, values

    def forward(self, x_BTM: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """`keys` and `values` (B, h, S V, d); without `bias` all of them are seen."""
        q_BhTd = split_heads(self.to_q(self.norm(x_BTM)), self.dim_head)
        keys, values = keys.to(q_BhTd.dtype), values.to(q_BhTd.dtype)
        out: Tensor = self.to_out(join_heads(attend(q_BhTd, keys, values, bias=bias)))
        return out
