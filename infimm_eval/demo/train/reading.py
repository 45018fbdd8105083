"""From documents to ids, and to the loss of the answers that are to be learned.

Knows nothing of what documents say.

Shapes: I pictures, K kinds of documents, B documents, T tokens, N of them, V latents, D width, M
text width, F facts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from infimm_eval.demo import vocabulary
from infimm_eval.demo.train.documents import Document
from infimm_eval.demo.train.labels import TextLabels, Told
from infimm_eval.flamingo import Flamingo
from infimm_eval.flamingo.shown import Shown

CALL = 150
"""What a call costs beside its tokens, in tokens: its pictures' latents are projected anew."""


class _Row(NamedTuple):
    """The number of its kind, ids, how much each of them is to be learned, the pictures in order,
    and at which tokens it is known whether what was said last is true: 1, else 0; -1 where it is
    not known."""

    kind: int
    ids: list[int]
    weights: list[float]
    pictures: list[int]
    true: list[int]


class Asked(NamedTuple):
    """The facts of a step's pictures, and who asks for them at every word."""

    labels: TextLabels
    truth_IF: Tensor


class Losses(NamedTuple):
    """Of the tokens to be learned, their mean by weight, kind by kind; of the facts, if asked for,
    the mean over kinds of what they are in each."""

    answers: dict[str, Tensor]
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
        batches: Mapping[str, Sequence[Document]],
        rng: random.Random,
        asked: Asked | None = None,
    ) -> Losses:
        """Documents of like length are read together, of whatever kind they are."""
        rows = [
            self._row(kind, document, rng)
            for kind, batch in enumerate(batches.values())
            for document in batch
        ]
        rows.sort(key=lambda row: len(row.ids))
        sizes = Sizes.of(rows, len(batches), self._image)
        read = [
            self._read(model, latents_IVD, rows[part], sizes, asked)
            for part in together([len(row.ids) for row in rows])
        ]
        answers_K = torch.stack([answers_K for answers_K, _ in read]).sum(0)
        facts = [facts for _, facts in read if facts is not None]
        return Losses(
            dict(zip(batches, answers_K, strict=True)), torch.stack(facts).sum() if facts else None
        )

    def _read(
        self,
        model: Flamingo,
        latents_IVD: Tensor,
        rows: Sequence[_Row],
        sizes: Sizes,
        asked: Asked | None,
    ) -> tuple[Tensor, Tensor | None]:
        """What some rows add to the loss of every kind, and to the facts'."""
        n_images_B = torch.tensor([len(row.pictures) for row in rows])
        kind_B = torch.tensor([row.kind for row in rows])
        ids_BT = _padded([row.ids for row in rows], self._pad)
        weights_BT = _padded([row.weights for row in rows], 0.0)[:, 1:]
        shown = Shown(latents_IVD, _padded([row.pictures or [0] for row in rows], 0))
        listening: AbstractContextManager[list[Tensor]] = (
            asked.labels.listening(model) if asked else nullcontext([])
        )
        with listening as states:
            x_BTM = model.hidden(ids_BT, None, shown, n_images_B)[:, :-1]
        learned_BT = weights_BT > 0
        kind_BT = kind_B[:, None].expand_as(ids_BT)
        kind_N = kind_BT[:, 1:][learned_BT]
        losses_N = F.cross_entropy(
            model.logits(x_BTM[learned_BT]), ids_BT[:, 1:][learned_BT], reduction="none"
        )
        losses_N = losses_N * weights_BT[learned_BT] / sizes.learned_K[kind_N]
        answers_K = torch.zeros_like(sizes.learned_K).index_add(0, kind_N, losses_N)
        if asked is None:
            return answers_K, None
        seen_BT = (ids_BT == self._image).cumsum(1)
        after_BT = (seen_BT > 0) & (ids_BT != self._pad)
        last_BT = shown.which_BI.gather(1, (seen_BT - 1).clamp(min=0))
        true_BT = _padded([row.true for row in rows], -1)
        told = Told(
            after_BT,
            asked.truth_IF[last_BT[after_BT]],
            true_BT,
            1 / sizes.words_K[kind_BT],
            1 / sizes.statements_K[kind_BT],
        )
        return answers_K, asked.labels(states, told) / len(sizes.learned_K)

    def _row(self, kind: int, document: Document, rng: random.Random) -> _Row:
        """The last answer ends the chunk or the text, so that a model kept from saying one of the
        two says the other."""
        row = _Row(kind, [self._bos], [0.0], [], [-1])
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


class Sizes(NamedTuple):
    """Of every kind at a step: the weight of all tokens to be learned, how many words follow a
    picture, and of how many it is known whether something is true there; at least 1."""

    learned_K: Tensor
    words_K: Tensor
    statements_K: Tensor

    @classmethod
    def of(cls, rows: Sequence[_Row], kinds: int, image: int) -> Sizes:
        """Counted from all rows of a step."""
        sizes_3K = torch.zeros(3, kinds)
        for row in rows:
            words = len(row.ids) - row.ids.index(image) if row.pictures else 0
            statements = len(row.true) - row.true.count(-1)
            sizes_3K[:, row.kind] += torch.tensor([sum(row.weights), words, statements])
        return cls(*sizes_3K.clamp(min=1))


def together(lengths: Sequence[int]) -> list[slice]:
    """Ascending lengths, cut into calls such that padding and calls cost the least tokens."""
    cost, begin = [0], [0]
    for end in range(1, len(lengths) + 1):
        least = min((cost[i] + lengths[end - 1] * (end - i) + CALL, i) for i in range(end))
        cost.append(least[0])
        begin.append(least[1])
    parts, end = [], len(lengths)
    while end:
        parts.append(slice(begin[end], end))
        end = begin[end]
    return parts[::-1]


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
