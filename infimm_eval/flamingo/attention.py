"""Softmax attention over heads, the one place that picks a kernel.

Knows nothing of what attends to what: masks arrive ready.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    q_BHTd: Tensor,
    k_BGSd: Tensor,
    v_BGSd: Tensor,
    *,
    visible: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v.

    G divides H; query head h reads key head h // (H / G).  `visible` is boolean, (B, 1, T, S) or
    broadcastable to it, with at least one True for every query; `causal` is for T == S and no
    `visible`.  Returns (B, H, T, d).
    """
    B, H, T, d = q_BHTd.shape
    G = k_BGSd.shape[1]
    if _slow_backward(q_BHTd):
        with torch.autocast(q_BHTd.device.type, enabled=False):
            q, k, v = q_BHTd.float(), k_BGSd.float(), v_BGSd.float()
            return attend(q, k, v, visible=visible, causal=causal).to(q_BHTd.dtype)
    if G == H:
        return F.scaled_dot_product_attention(q_BHTd, k_BGSd, v_BGSd, visible, is_causal=causal)
    if causal or T > 1:
        return F.scaled_dot_product_attention(
            q_BHTd, k_BGSd, v_BGSd, visible, is_causal=causal, enable_gqa=True
        )
    # One query per head: the heads of a group stand in as its queries and no key is copied.
    grouped = q_BHTd.reshape(B, G, H // G, d)
    return F.scaled_dot_product_attention(grouped, k_BGSd, v_BGSd, visible).reshape(B, H, 1, d)


def _slow_backward(q: Tensor) -> bool:
    # On CPUs the fused backward in bfloat16 takes many times as long as in float32.
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad


def split_heads(x_BTD: Tensor, dim_head: int) -> Tensor:
    """(B, T, H d) -> (B, H, T, d), a view."""
    return x_BTD.view(*x_BTD.shape[:2], -1, dim_head).transpose(1, 2)


def join_heads(x_BHTd: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, H d)."""
    return x_BHTd.transpose(1, 2).flatten(2)
