"""Activations and the output layer, put so that a processor moves less memory.

What they compute is what their formulas say, to the last bit for the activations.  Where a gradient
may be wanted they are the plain formulas.  Knows nothing of layers.

Shapes: M width, Y vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_ROWS = 4
"""Up to here, but for a single row, a table is multiplied with the rows and not they with it."""

MANY_WORDS = 8192
"""A smaller table is in the cache anyway."""

BLOCK = 1024
"""Rows of the table at once: 2 MB at M = 512, which stay in a core's cache while they are read."""


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's approximation of GELU (CLIP's code): x sigmoid(1.702 x).

    In place but for one buffer.  Memory that is fresh each time has to be mapped first, which for
    a tower's hidden layer took six times as long as the arithmetic (3.0 ms against 0.5 for a
    picture of 257 x 1,536 on one core).
    """
    gate = 1.702 * x
    return x * gate.sigmoid() if torch.is_grad_enabled() else gate.sigmoid_().mul_(x)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020, arXiv:2002.05202).  ``gate`` may be overwritten."""
    return F.silu(gate) * up if torch.is_grad_enabled() else F.silu(gate, inplace=True).mul_(up)


def output_layer(x: Tensor, table_YM: Tensor) -> Tensor:
    """Scores of the words, float32: (..., M) -> (..., Y).

    BLAS spends much of its time on packing the table.  Read in blocks it is in the cache by then;
    with two to four rows the product the other way round needs no packing (measured on one core,
    M = 512, Y = 32,002: 128 rows 88 -> 60 ms, 12 rows 17 -> 13 ms, 4 rows 13 -> 6 ms).
    """
    rows = x.shape[:-1].numel()
    in_blocks = rows > 1 and len(table_YM) >= MANY_WORDS
    if not in_blocks or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, table_YM).float()
    if rows <= FEW_ROWS:
        scores_YR = table_YM @ x.reshape(rows, -1).T
        return scores_YR.T.contiguous().view(*x.shape[:-1], -1).float()
    return torch.cat([F.linear(x, block) for block in torch.split(table_YM, BLOCK)], dim=-1).float()
