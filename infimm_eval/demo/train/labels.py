"""What a scene's picture should be read as, place by place: the tower's extra lesson in training.

Its heads are not part of the model and are dropped after training.

Shapes: I pictures, N visual tokens (CLS first), V latents, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.demo.scenes import COLORS, GROUNDS, SHAPES, SIGNS, SIZES, Scene
from infimm_eval.demo.train.tiny import GRID


class Labels(nn.Module):
    """Training only: reads off the tokens of each place what stands there, and off single latents
    what stands at each place, what is named first, second and third, and what is behind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (len(SHAPES) + 1, len(COLORS) + 1, len(SIZES) + 1)
        self.things = nn.ModuleList(nn.Linear(width, sum(self.sizes)) for _ in range(3))
        self.whole = nn.ModuleList(
            nn.Linear(width, len(GROUNDS) + len(SIGNS) + 1) for _ in range(2)
        )

    def forward(self, tokens_IND: Tensor, latents_IVD: Tensor, facts: Facts) -> Tensor:
        """The loss of naming what lies where, from a picture's tokens and from its latents."""
        patches_IPPPPD = tokens_IND[:, 1:].view(
            len(tokens_IND), 2, GRID // 2, 2, GRID // 2, tokens_IND.shape[-1]
        )
        places_I4D = patches_IPPPPD.mean((2, 4)).flatten(1, 2)
        return (
            self._things(0, places_I4D, facts.places_I43)
            + self._things(1, latents_IVD[:, :4], facts.places_I43)
            + self._things(2, latents_IVD[:, 4:7], facts.named_I33)
            + self._whole(0, tokens_IND[:, 1:].mean(1), facts.whole_I2)
            + self._whole(1, latents_IVD[:, 7], facts.whole_I2)
        )

    def _things(self, head: int, x_IPD: Tensor, facts_IP3: Tensor) -> Tensor:
        parts = self.things[head](x_IPD).split(self.sizes, -1)
        return sum_of(
            F.cross_entropy(part.flatten(0, 1), facts_IP3[..., k].flatten())
            for k, part in enumerate(parts)
        )

    def _whole(self, head: int, x_ID: Tensor, facts_I2: Tensor) -> Tensor:
        parts = self.whole[head](x_ID).split((len(GROUNDS), len(SIGNS) + 1), -1)
        return sum_of(F.cross_entropy(part, facts_I2[:, k]) for k, part in enumerate(parts))


def sum_of(losses: Iterable[Tensor]) -> Tensor:
    """Losses added up."""
    return torch.stack(list(losses)).sum()


@dataclass(frozen=True)
class Facts:
    """Class numbers (shape, color, size; 0: nothing there) by place and by order of naming, and
    of ground and sign."""

    places_I43: Tensor
    named_I33: Tensor
    whole_I2: Tensor

    @classmethod
    def of(cls, scenes: Sequence[Scene]) -> Facts:
        """What is true of each scene, as class numbers."""
        places = torch.zeros(len(scenes), 4, 3, dtype=torch.long)
        named = torch.zeros(len(scenes), 3, 3, dtype=torch.long)
        whole = torch.zeros(len(scenes), 2, dtype=torch.long)
        for i, scene in enumerate(scenes):
            for n, t in enumerate(scene.things):
                fact = (
                    1 + SHAPES.index(t.shape),
                    1 + COLORS.index(t.color),
                    1 + SIZES.index(t.size),
                )
                places[i, t.place] = named[i, n] = torch.tensor(fact)
            sign = 1 + SIGNS.index(scene.sign) if scene.sign else 0
            whole[i] = torch.tensor((GROUNDS.index(scene.ground), sign))
        return cls(places, named, whole)

    def __getitem__(self, chosen: Sequence[int]) -> Facts:
        index = list(chosen)
        return Facts(self.places_I43[index], self.named_I33[index], self.whole_I2[index])
