"""What a scene's picture should be read as: the extra lessons of training, for the tower place by
place, and for the language model at every word about the picture.

Their heads are not part of the model and are dropped after training.

Shapes: I pictures, N visual tokens (CLS first), V latents, D width; B documents, T tokens, M text
width, F facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.demo.scenes import COLORS, GROUNDS, PLACES, SHAPES, SIGNS, SIZES, Scene
from infimm_eval.demo.train.tiny import GRID
from infimm_eval.flamingo import Flamingo


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


class Told(NamedTuple):
    """What the language model is told, and how much each word counts: at the N tokens ``after`` a
    picture the facts of the last one, by ``words``; by ``statements`` whether what ends at a token
    is true (1) or not (0), where that is anybody's business (not -1)."""

    after_BT: Tensor
    facts_NF: Tensor
    true_BT: Tensor
    words_BT: Tensor
    statements_BT: Tensor


class TextLabels(nn.Module):
    """Training only: reads off hidden states halfway through the decoder, at every word after a
    picture what is true of the last one, at the last of a statement or an option whether that is.

    Whether a statement is true has to do with its words and the picture together and with neither
    alone, so that nothing is learned of it at first, and for how long is chance.  Where the facts
    lie open at every word, the comparison is a single step.
    """

    LAYERS = (1, 2)
    """Those of the decoder whose output is read."""
    WEIGHT = 20.0
    """Of the mean over all facts, most of which are not true of a picture; ..."""
    TRUTH = 2.0
    """... and of the mean over statements and options."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, FACTS) for _ in self.LAYERS)
        self.truth = nn.ModuleList(nn.Linear(width, 1) for _ in self.LAYERS)

    @contextmanager
    def listening(self, model: Flamingo) -> Iterator[list[Tensor]]:
        """What the layers put out while the model runs, (B, T, M) each."""
        states: list[Tensor] = []
        layers = [layer for layer in model.decoder.layers if isinstance(layer, nn.Module)]
        hooks = [
            layers[i].register_forward_hook(lambda _module, _given, out: states.append(out))
            for i in self.LAYERS
        ]
        try:
            yield states
        finally:
            for hook in hooks:
                hook.remove()

    def forward(self, states: Sequence[Tensor], told: Told) -> Tensor:
        """The loss of telling what is told."""
        known_BT = told.true_BT >= 0
        true_N = told.true_BT[known_BT].float()
        words_N1 = told.words_BT[told.after_BT][:, None] / FACTS
        losses = [
            self.WEIGHT * _judged(head(x_BTM[told.after_BT]), told.facts_NF, words_N1)
            + self.TRUTH
            * _judged(truth(x_BTM[known_BT])[:, 0], true_N, told.statements_BT[known_BT])
            for head, truth, x_BTM in zip(self.heads, self.truth, states, strict=True)
        ]
        return torch.stack(losses).mean()


def _judged(logits: Tensor, true: Tensor, weights: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, true, weights, reduction="sum")


_PARTS = (
    len(COLORS),
    len(SHAPES),
    len(GROUNDS),
    3,  # how many things there are
    len(PLACES),
    len(PLACES) * len(COLORS),
    len(PLACES) * len(SHAPES),
    len(COLORS) * len(SHAPES),
    len(SIGNS),
)
FACTS = sum(_PARTS)


def truths(scenes: Sequence[Scene]) -> Tensor:
    """What may be said of a scene and is true, 1 or 0, (I, F): that it has a color, a shape, a
    ground, so many things, something in a place, what color or shape is there, which shape has
    which color, and what its sign says."""
    found = torch.zeros(len(scenes), FACTS)
    starts = [sum(_PARTS[:k]) for k in range(len(_PARTS))]
    for row, scene in zip(found, scenes, strict=True):
        for thing in scene.things:
            color, shape = COLORS.index(thing.color), SHAPES.index(thing.shape)
            numbers = (
                color,
                shape,
                GROUNDS.index(scene.ground),
                len(scene.things) - 1,
                thing.place,
                thing.place * len(COLORS) + color,
                thing.place * len(SHAPES) + shape,
                color * len(SHAPES) + shape,
            )
            row[[start + n for start, n in zip(starts, numbers, strict=False)]] = 1.0
        if scene.sign:
            row[starts[-1] + SIGNS.index(scene.sign)] = 1.0
    return found


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
