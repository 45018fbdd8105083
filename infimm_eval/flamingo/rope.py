"""Rotary position embedding (rope) in half-split order, as LLaMA and GPT-NeoX have it.

Knows no decoder.

Shapes: B rows, T tokens, N heads, d head width.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Rope: TypeAlias = tuple[Tensor, Tensor]


def rotary_angles(positions_BT: Tensor, width: int, theta: float) -> Rope:
    """cos and sin, each (B, T, 1, d), float32: angle p theta^(-2i / d), once for each half of d
    (Su et al. 2021, arXiv:2104.09864, in LLaMA's half-split order); sin is negative in the first.
    """
    exponent = torch.arange(0, width, 2, device=positions_BT.device).float() / width
    angle_BT1f = positions_BT[:, :, None, None].float() / theta**exponent
    cos, sin = angle_BT1f.cos(), angle_BT1f.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x_BTNd: Tensor, rope: Rope) -> Tensor:
    """Turns pairs (low, high), one from each half: low cos - high sin, high cos + low sin."""
    cos, sin = (t.to(x_BTNd.dtype) for t in rope)
    low, high = x_BTNd.chunk(2, dim=-1)
    return (x_BTNd * cos).addcmul(torch.cat([high, low], dim=-1), sin)
