"""The first layer of every vision transformer: a picture cut into patches, each one linear map.

Knows no tower.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def embed_patches(pixels_I3HW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(I, 3, S, S) -> (I, P, W), patches row by row.  A convolution whose stride is the size of
    its kernel, as the matrix product that it is: where torch convolves on an accelerator, it rounds
    float32 to ten bits (TF32) by default."""
    p, (I, C, S, _) = weight.shape[-1], pixels_I3HW.shape  # noqa: E741
    rows_ICGpGp = pixels_I3HW.reshape(I, C, S // p, p, S // p, p)
    patches_IPf = rows_ICGpGp.permute(0, 2, 4, 1, 3, 5).reshape(I, (S // p) ** 2, C * p * p)
    return F.linear(patches_IPf, weight.flatten(1), bias)
