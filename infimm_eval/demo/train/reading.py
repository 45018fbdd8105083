"""From documents to ids, and to the loss of the answers that are to be learned.

Knows nothing of what documents say.

Shapes: I pictures, B documents, T tokens, V latents, D width, M text width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from infimm_eval.demo import vocabulary
from infimm_eval.demo.train.documents import Document
from infimm_eval.flamingo import Flamingo
from infimm_eval.flamingo.shown import Shown

TOGETHER = 24
"""Documents of like length that are read at once."""


class _Row(NamedTuple):
    """Ids, how much each of them is to be learned, and the pictures in order."""

    ids: list[int]
    weights: list[float]
    pictures: list[int]


class Reader:
    """Turns documents into ids and into the loss of their trained answers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        marks = (vocabulary.PAD, vocabulary.BOS, vocabulary.EOS, vocabulary.END_OF_CHUNK)
        self._pad, self._bos, self._eos, self._end = (
            vocabulary.number(tokenizer, mark) for mark in marks
        )

    def loss(
        self, model: Flamingo, latents_IVD: Tensor, batch: Sequence[Document], rng: random.Random
    ) -> Tensor:
        """Mean over the tokens to be learned, by weight.  Documents of like length are read
        together."""
        rows = sorted(
            (self._row(document, rng) for document in batch), key=lambda row: len(row.ids)
        )
        parts = [rows[i : i + TOGETHER] for i in range(0, len(rows), TOGETHER)]
        total = sum(sum(row.weights) for row in rows)
        sums = [self._sum(model, latents_IVD, part) for part in parts]
        return torch.stack(sums).sum() / max(1.0, total)

    def _sum(self, model: Flamingo, latents_IVD: Tensor, rows: Sequence[_Row]) -> Tensor:
        n_images_B = torch.tensor([len(row.pictures) for row in rows])
        ids_BT = _padded([row.ids for row in rows], self._pad)
        weights_BT = _padded([row.weights for row in rows], 0.0)[:, 1:]
        shown = Shown(latents_IVD, _padded([row.pictures for row in rows], 0))
        x_BTM = model.hidden(ids_BT, None, shown, n_images_B)[:, :-1]
        learned_BT = weights_BT > 0
        losses = F.cross_entropy(
            model.logits(x_BTM[learned_BT]), ids_BT[:, 1:][learned_BT], reduction="none"
        )
        return (losses * weights_BT[learned_BT]).sum()

    def _row(self, document: Document, rng: random.Random) -> _Row:
        """The last answer ends the chunk or the text, so that a model kept from saying one of the
        two says the other."""
        row = _Row([self._bos], [0.0], [])
        for example in document:
            prompt, answer = self._ids(example.prompt), list(self._ids(example.answer))
            if example.end == "turn":
                answer.append(self._eos)
            elif example.end == "chunk":
                last = example is document[-1]
                answer.append(self._eos if last and rng.random() < 0.5 else self._end)
            row.ids.extend(prompt + answer)
            row.weights.extend([0.0] * len(prompt))
            row.weights.extend([example.weight if example.trained else 0.0] * len(answer))
            row.pictures.extend(example.pictures)
        return row

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return self._known[text]


def _padded(rows: Sequence[Sequence[float]], filler: float) -> Tensor:
    """(B, T), of whole numbers where the filler is one."""
    width = max(map(len, rows))
    dtype = torch.long if isinstance(filler, int) else torch.float32
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=dtype)
