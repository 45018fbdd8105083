"""From documents to ids, and to the loss of the answers that are to be learned.

Knows nothing of what documents say.

Shapes: I pictures, B documents, T tokens, V latents, D width, M text width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

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
NOT_TRAINED = -100


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
        """Mean over the tokens to be learned.  Documents of like length are read together."""
        rows = sorted((self._row(document, rng) for document in batch), key=lambda row: len(row[0]))
        parts = [rows[i : i + TOGETHER] for i in range(0, len(rows), TOGETHER)]
        learned = sum(wanted != NOT_TRAINED for _, row, _ in rows for wanted in row)
        sums = [self._sum(model, latents_IVD, part) for part in parts]
        return torch.stack(sums).sum() / max(1, learned)

    def _sum(
        self, model: Flamingo, latents_IVD: Tensor, rows: Sequence[tuple[list[int], ...]]
    ) -> Tensor:
        n_images_B = torch.tensor([len(pictures) for _, _, pictures in rows])
        ids_BT = _padded([ids for ids, _, _ in rows], self._pad)
        wanted_BT = _padded([wanted for _, wanted, _ in rows], NOT_TRAINED)[:, 1:]
        pictures_BI = _padded([pictures for _, _, pictures in rows], 0)
        shown = Shown(latents_IVD, pictures_BI)
        x_BTM = model.hidden(ids_BT, None, shown, n_images_B)[:, :-1]
        trained_BT = wanted_BT != NOT_TRAINED
        return F.cross_entropy(
            model.logits(x_BTM[trained_BT]), wanted_BT[trained_BT], reduction="sum"
        )

    def _row(self, document: Document, rng: random.Random) -> tuple[list[int], ...]:
        """Ids, what is to be learned at each of them, and the pictures in order.

        The last answer ends the chunk or the text, so that a model kept from saying one of the
        two says the other; what `closes` ends the text.
        """
        ids, wanted = [self._bos], [NOT_TRAINED]
        pictures: list[int] = []
        for example in document:
            last = example is document[-1]
            end = self._eos if example.closes or (last and rng.random() < 0.5) else self._end
            prompt, answer = self._ids(example.prompt), [*self._ids(example.answer), end]
            ids += prompt + answer
            wanted += [NOT_TRAINED] * len(prompt)
            wanted += answer if example.trained else [NOT_TRAINED] * len(answer)
            pictures += example.pictures
        return ids, wanted, pictures

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return self._known[text]


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])
