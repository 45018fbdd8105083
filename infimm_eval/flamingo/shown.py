"""Which pictures the rows of a batch show: each distinct one once, whoever shows it.

Knows nothing of what is done with them.

Shapes: B rows, P distinct pictures, I picture slots of a row, V latents of a picture, D their
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Latents of distinct pictures (P, V, D), and which of them stands in each slot of each row,
    (B, I) int64; slots behind a row's last picture may name any.

    Prompts that share pictures, as few-shot prompts do, project them once instead of once a row.
    """

    pictures_PVD: Tensor
    which_BI: Tensor

    @classmethod
    def of(cls, latents: Latents) -> Shown:
        """Of (B, I, V, D), where every slot is a picture of its own."""
        if isinstance(latents, Shown):
            return latents
        B, I = latents.shape[:2]  # noqa: E741
        return cls(latents.flatten(0, 1), torch.arange(B * I, device=latents.device).view(B, I))

    def __len__(self) -> int:
        """B."""
        return len(self.which_BI)

    @property
    def slots(self) -> int:
        """I."""
        return self.which_BI.shape[1]

    def rows(self, of: Sequence[int]) -> Shown:
        """Those of some rows."""
        return Shown(self.pictures_PVD, self.which_BI[list(of)])


Latents: TypeAlias = Tensor | Shown
"""The pictures of the rows of a batch: (B, I, V, D), or each distinct one once."""
