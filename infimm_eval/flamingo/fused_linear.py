"""Several linear layers of one input as one product.

Knows nothing of what they are for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FusedLinear(nn.Module):
    """Linear layers without biases, whose outputs stand side by side.  They are another module's;
    this one has no parameters of its own.

    After `fuse` their weights lie in one memory and are read by one product, which small ones gain
    most from; the layers keep their parameters, which are views of it.  Where a parameter was
    moved or replaced since, or wants a gradient, each layer computes for itself again.
    """

    def __init__(self, *layers: nn.Linear) -> None:
        super().__init__()
        self.layers = layers  # in a tuple, where torch does not take them for parts of this module
        self._weight: Tensor | None = None
        self._places: list[int] = []

    @torch.no_grad()
    def fuse(self) -> None:
        """Brings the weights into one memory, if they are not there yet; for inference, where they
        stay."""
        weights = [layer.weight for layer in self.layers]
        if self._weight is not None and self._together(weights):
            return
        self._weight = torch.cat([weight.data for weight in weights])
        parts = torch.split(self._weight, [len(weight) for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.data = part
        self._places = [part.data_ptr() for part in parts]

    def forward(self, x: Tensor) -> Tensor:
        """(..., M) -> the layers' outputs in their order, (..., sum of their widths)."""
        if self._weight is not None and self._whole():
            return F.linear(x, self._weight)
        return torch.cat([layer(x) for layer in self.layers], dim=-1)

    def _whole(self) -> bool:
        weights = [layer.weight for layer in self.layers]
        if torch.is_grad_enabled() and any(weight.requires_grad for weight in weights):
            return False
        return self._together(weights)

    def _together(self, weights: Sequence[Tensor]) -> bool:
        return [weight.data_ptr() for weight in weights] == self._places
