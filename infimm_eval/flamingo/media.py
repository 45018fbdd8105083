"""Which latents each position of a text sees: per-image attention masking (Alayrac et al. 2022,
section 3.1.3), without a mask.

Every position sees exactly one slot.  Slot 0 is what the row saw before this chunk of text:
nothing (zeros) at the start of a sequence.  Slots 1..I are the chunk's pictures.  Slot I + 1 is
for tags beyond the row's last picture: there the original's scores are all equal, so attention is
the plain mean over the latents of all of the row's pictures.  A slot that holds their mean in every
place says that, because keys and values are linear in latents.

Positions that see the same slot stand side by side.  Such a segment attends to its V latents, where
whole rows under a mask would attend to those of every slot and throw all but one away.

Shapes: B rows, T positions, N segments, L positions of the longest, P distinct pictures, I picture
slots of a row, S = I + 2 slots, E = P pictures and as many means as there are, V latents of a
picture, D their width, W any width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from infimm_eval.flamingo.shown import Shown


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Runs of positions of a row, laid side by side as rows of their own.

    `places_NL` are positions among all B T; behind the end of a shorter segment they name any.
    `back_BT` is where among all N L each position went.
    """

    places_NL: Tensor
    back_BT: Tensor

    @classmethod
    def beginning(cls, begins_BT: Tensor) -> Segments:
        """From each True to the next; a row's first position begins one in any case."""
        B, T = begins_BT.shape
        begins_BT = begins_BT.clone()
        begins_BT[:, :1] = True
        start_N = begins_BT.flatten().nonzero()[:, 0]
        end_N = torch.cat([start_N[1:], start_N.new_tensor([B * T])])
        longest = int((end_N - start_N).max())
        places_NL = start_N[:, None] + torch.arange(longest, device=start_N.device)
        segment_BT = begins_BT.flatten().cumsum(0).view(B, T) - 1
        place_BT = torch.arange(B * T, device=start_N.device).view(B, T)
        back_BT = segment_BT * longest + place_BT - start_N[segment_BT]
        return cls(places_NL.clamp(max=B * T - 1), back_BT)

    def first(self, x_BT: Tensor) -> Tensor:
        """The number at each segment's first position, (N,)."""
        return x_BT.flatten()[self.places_NL[:, 0]]

    def cut(self, x_BTW: Tensor) -> Tensor:
        """(B, T, W) -> (N, L, W)."""
        if self.places_NL.shape == x_BTW.shape[:2]:  # every row is one
            return x_BTW
        return _taken(x_BTW, self.places_NL)

    def join(self, x_NLW: Tensor) -> Tensor:
        """(N, L, W) -> (B, T, W)."""
        return x_NLW if x_NLW.shape[:2] == self.back_BT.shape else _taken(x_NLW, self.back_BT)


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return x.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, -1)


class Media(NamedTuple):
    """What a chunk of text can see, for every gated block.

    `latents_EVD` are the distinct pictures, and behind them the mean of each row's where a tag has
    none.  `entry_N` is what each of `segments` sees, `last_B` what a row's last real position does
    and later text inherits: places in what the rows saw before, B entries or, where the chunk is
    `fresh`, a single one of zeros, followed by `latents_EVD`.
    """

    latents_EVD: Tensor
    segments: Segments
    entry_N: Tensor
    last_B: Tensor
    fresh: bool

    @classmethod
    def of(
        cls, shown: Shown, tags_BT: Tensor, lengths_B: Tensor, n_images_B: Tensor, *, fresh: bool
    ) -> Media:
        """For text with its picture tags, right-padded, each row having its first `n_images_B` of
        the slots of `shown`."""
        B, I = shown.which_BI.shape  # noqa: E741
        row_B1 = torch.arange(B, device=tags_BT.device)[:, None]
        latents_EVD = shown.pictures_PVD
        slot_BT = slots_of(tags_BT, n_images_B, I)
        if bool((slot_BT > I).any()):
            mean_BD = mean_of(shown, n_images_B)
            latents = latents_EVD.shape[1]
            mean_BVD = mean_BD[:, None].expand(-1, latents, -1)
            latents_EVD = torch.cat([latents_EVD, mean_BVD])
        before = 1 if fresh else B
        own_B1, mean_B1 = 0 * row_B1 if fresh else row_B1, len(shown.pictures_PVD) + row_B1
        entry_BS = torch.cat([own_B1, before + shown.which_BI, before + mean_B1], dim=1)
        entry_BT = entry_BS.gather(1, slot_BT)
        segments = Segments.beginning(slot_BT.diff(dim=1, prepend=slot_BT[:, :1]) != 0)
        last_B = entry_BT.gather(1, lengths_B[:, None] - 1)[:, 0]
        return cls(latents_EVD, segments, segments.first(entry_BT), last_B, fresh)


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
