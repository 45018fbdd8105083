"""The digest of tensors in memory: names a part of a model by its numbers, whatever file held them.

Knows nothing of what the part computes.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import torch
from torch import Tensor


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Of named tensors, in the order of their names; reads every number once."""
    found = sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        plain = tensor.detach().to("cpu").contiguous().reshape(-1)
        found.update(plain.view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]
