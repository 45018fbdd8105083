"""Softmax attention over heads, the one place that picks kernels.

Knows nothing of what attends to what: masks arrive ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def any_shape() -> Iterator[None]:
    """For attention in shapes that are new time and again, as prompts are.

    Torch's first choice on Hopper is cuDNN, which plans for every new shape; on an H100 a step of a
    new shape was seen to take 40 ms more than the next of the same.  Inside, attention is left to
    kernels that take shapes as they come.
    """
    usual = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(usual)


def attend(
    q_BHTd: Tensor,
    k_BGSd: Tensor,
    v_BGSd: Tensor,
    *,
    bias: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v.

    G divides H; query head h reads key head h // n, n = H / G.  `bias` is what `visibility_bias`
    or `position_bias` makes for that n; `causal` is for T == S and no `bias`.  Gives (B, H, T, d).
    """
    B, H, T, d = q_BHTd.shape
    G = k_BGSd.shape[1]
    if _slow_backward(q_BHTd):
        with torch.autocast(q_BHTd.device.type, enabled=False):
            q, k, v = q_BHTd.float(), k_BGSd.float(), v_BGSd.float()
            return attend(q, k, v, bias=bias, causal=causal).to(q_BHTd.dtype)
    if causal and G != H:
        return F.scaled_dot_product_attention(
            q_BHTd, k_BGSd, v_BGSd, is_causal=True, enable_gqa=True
        )
    # The heads of a group stand in line as queries of one head, and no key is copied.
    q_BGnTd = q_BHTd.reshape(B, G, -1, d)
    bias = None if bias is None else bias.to(q_BHTd.dtype)
    out = F.scaled_dot_product_attention(q_BGnTd, k_BGSd, v_BGSd, bias, is_causal=causal)
    return out.reshape(B, H, T, d)


def visibility_bias(visible_BTS: Tensor, dtype: torch.dtype, heads: int = 1) -> Tensor:
    """What `attend` adds to scores so that a query sees the keys that are True for it, at least
    one: (B, 1, n T, S), for groups of n = `heads` query heads."""
    B, T, S = visible_BTS.shape
    bias_BnTS = _room((B, heads, T, S), dtype, visible_BTS.device)
    bias_BnTS[..., :S].masked_fill_(visible_BTS[:, None], 0)
    return bias_BnTS.flatten(1, 2)[:, None, :, :S]


def position_bias(bias_BHTS: Tensor, visible_BTS: Tensor, dtype: torch.dtype, heads: int) -> Tensor:
    """The same where every query head adds numbers of its own to what is visible: (B, G, n T, S).
    Both are for B rows or for one that stands for all."""
    B = max(len(bias_BHTS), len(visible_BTS))
    _, H, T, S = bias_BHTS.shape
    room_BHTS = _room((B, H, T, S), dtype, bias_BHTS.device)
    room_BHTS[..., :S] = bias_BHTS.masked_fill(~visible_BTS[:, None], -torch.inf)
    return room_BHTS.view(B, H // heads, heads * T, -1)[..., :S]


def _room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kernels want lines that begin at multiples of 16 bytes, and would copy others for every layer.
    *rest, S = shape
    return torch.full((*rest, -(-S // 8) * 8), -torch.inf, dtype=dtype, device=device)


def _slow_backward(q: Tensor) -> bool:
    # On CPUs the fused backward in bfloat16 takes many times as long as in float32.
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad


def split_heads(x_BTD: Tensor, dim_head: int) -> Tensor:
    """(B, T, H d) -> (B, H, T, d), a view."""
    return x_BTD.view(*x_BTD.shape[:2], -1, dim_head).transpose(1, 2)


def join_heads(x_BHTd: Tensor) -> Tensor:
    """(B, H, T, d) -> (B, T, H d)."""
    return x_BHTd.transpose(1, 2).flatten(2)
