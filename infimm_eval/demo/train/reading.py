"""From documents to ids, and to the loss of the answers that are to be learned.

Knows nothing of what documents say.

Shapes: I pictures, B documents, T tokens, V latents, D width, M text width, F facts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from infimm_eval.demo import vocabulary
from infimm_eval.demo.train.documents import Document
from infimm_eval.demo.train.labels import TextLabels
from infimm_eval.flamingo import Flamingo
from infimm_eval.flamingo.shown import Shown

TOGETHER = 64
"""Documents of like length that are read at once."""


class _Row(NamedTuple):
    """Ids, how much each of them is to be learned, the pictures in order, and at which tokens it is
    known whether what was said last is true: 1, else 0; -1 where it is not known."""

    ids: list[int]
    weights: list[float]
    pictures: list[int]
    true: list[int]


class Asked(NamedTuple):
    """The facts of a step's pictures, and who asks for them at every word."""

    labels: TextLabels
    truth_IF: Tensor


class Losses(NamedTuple):
    """Of the tokens to be learned, their mean by weight; of the facts, if asked for, likewise."""

    answers: Tensor
    facts: Tensor | None


class Reader:
    """Turns documents into ids and into the loss of their trained answers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._pad, self._bos, self._eos, self._end, self._image = (
            vocabulary.number(tokenizer, mark) for mark in _MARKS
        )

    def losses(
        self,
        model: Flamingo,
        latents_IVD: Tensor,
        batch: Sequence[Document],
        rng: random.Random,
        asked: Asked | None = None,
    ) -> Losses:
        """Documents of like length are read together."""
        rows = sorted(
            (self._row(document, rng) for document in batch), key=lambda row: len(row.ids)
        )
        parts = [rows[i : i + TOGETHER] for i in range(0, len(rows), TOGETHER)]
        total = sum(sum(row.weights) for row in rows)
        read = [self._read(model, latents_IVD, part, asked) for part in parts]
        told = [each.facts for each in read if each.facts is not None]
        return Losses(
            torch.stack([each.answers for each in read]).sum() / max(1.0, total),
            torch.stack(told).mean() if told else None,
        )

    def _read(
        self, model: Flamingo, latents_IVD: Tensor, rows: Sequence[_Row], asked: Asked | None
    ) -> Losses:
        """The sum over the tokens to be learned, and the facts' loss."""
        n_images_B = torch.tensor([len(row.pictures) for row in rows])
        ids_BT = _padded([row.ids for row in rows], self._pad)
        weights_BT = _padded([row.weights for row in rows], 0.0)[:, 1:]
        shown = Shown(latents_IVD, _padded([row.pictures or [0] for row in rows], 0))
        listening: AbstractContextManager[list[Tensor]] = (
            asked.labels.listening(model) if asked else nullcontext([])
        )
        with listening as states:
            x_BTM = model.hidden(ids_BT, None, shown, n_images_B)[:, :-1]
        learned_BT = weights_BT > 0
        losses = F.cross_entropy(
            model.logits(x_BTM[learned_BT]), ids_BT[:, 1:][learned_BT], reduction="none"
        )
        answers = (losses * weights_BT[learned_BT]).sum()
        if asked is None:
            return Losses(answers, None)
        seen_BT = (ids_BT == self._image).cumsum(1)
        after_BT = (seen_BT > 0) & (ids_BT != self._pad)
        last_BT = shown.which_BI.gather(1, (seen_BT - 1).clamp(min=0))
        true_BT = _padded([row.true for row in rows], -1)
        facts_NF = asked.truth_IF[last_BT[after_BT]]
        return Losses(answers, asked.labels(states, after_BT, facts_NF, true_BT))

    def _row(self, document: Document, rng: random.Random) -> _Row:
        """The last answer ends the chunk or the text, so that a model kept from saying one of the
        two says the other."""
        row = _Row([self._bos], [0.0], [], [-1])
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
            row.true.extend([-1] * (len(row.ids) - len(row.true)))
            if example.true is not None:
                row.true[-1] = int(example.true)
        return row

    def _ids(self, text: str) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return self._known[text]


_MARKS = (
    vocabulary.PAD,
    vocabulary.BOS,
    vocabulary.EOS,
    vocabulary.END_OF_CHUNK,
    vocabulary.IMAGE,
)


def _padded(rows: Sequence[Sequence[float]], filler: float) -> Tensor:
    """(B, T), of whole numbers where the filler is one."""
    width = max(map(len, rows))
    dtype = torch.long if isinstance(filler, int) else torch.float32
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows], dtype=dtype)
