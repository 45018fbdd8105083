"""A batch of prompts on its way through a search, and what comes out of it.

Knows nothing of which search.

Shapes: B prompts, T tokens, I pictures, V latents, D their width, R cache rows, Y vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from infimm_eval.flamingo.cuda_graphs import Steps
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.prefill import read_prompts
from infimm_eval.flamingo.shown import Latents

Finish: TypeAlias = Literal["eos", "stop", "length", "nan"]
"""``"nan"``: the model's scores were not finite, so that any token would have done as well."""

Stop: TypeAlias = Callable[[int, Sequence[int]], bool]
"""(prompt's index in the batch, its new ids so far) -> whether the answer is complete."""


@dataclass(frozen=True)
class GenerationConfig:
    """How answers are searched for: greedily or, with `num_beams` > 1, by beam search.

    `max_new_tokens` may be one figure per prompt.  `eos_ids` defaults to the model's.  `banned_ids`
    defaults to the picture and end-of-chunk tags (those not in `eos_ids`): in the original codes a
    picture tag in one row's answer changed what all other rows see, and in none does it stand for
    a picture.

    `beam_length_rule` says what a beam's score is divided by.  "transformers": its new tokens, the
    end included.  "original-4.35", what the released code ran on: prompt with its padding plus
    new tokens, the end not counted; there alone the padding of a batch changes answers.
    """

    max_new_tokens: int | Sequence[int]
    min_new_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    beam_length_rule: str = "transformers"
    eos_ids: Iterable[int] | None = None
    banned_ids: Iterable[int] | None = None


@dataclass(frozen=True)
class Generated:
    """One answer.

    `ids` are the new tokens without the end-of-sequence token that closed them.  `score` is the
    sum of the log-probabilities of all chosen tokens, the closing one included; for beams, that
    sum over length ** length_penalty under the chosen length rule.  Where it `finish`ed with "nan"
    there is no answer: no ids, and a score that is no number.
    """

    ids: tuple[int, ...]
    finish: Finish
    score: float


@dataclass(frozen=True)
class Prompts:
    """A batch ready to decode: right-padded ids, of width `padded` as they came, and what each row
    may produce."""

    ids_BT: Tensor
    lengths: list[int]
    padded: int
    latents_BIVD: Latents | None
    n_images_B: Tensor | None
    prefixes: Sequence[KVCache | None]
    search: GenerationConfig
    limits: list[int]
    eos: frozenset[int]
    ends: Tensor
    banned: Tensor
    stop: Stop | None

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, step: Steps) -> Tensor:
        """The prompts into the first rows of an empty cache; logits after each row, (R, Y)."""
        pictures = self.latents_BIVD, self.n_images_B
        rows = range(len(self))
        logits_BY = read_prompts(
            self.prefixes, step.model, step.cache, self.ids_BT, self.lengths, *pictures, rows
        )
        spare = len(step.cache) - len(self)
        return F.pad(logits_BY, (0, 0, 0, spare)) if spare else logits_BY

    def in_rows(self, rows: int) -> list[int | None]:
        """Which prompt is in each of so many rows; `None` where there is none."""
        return [*range(len(self)), *[None] * (rows - len(self))]

    def forbid(self, scores: Tensor, produced: int) -> Tensor:
        """Banned tokens, and the end before the least tokens, become impossible, (..., Y)."""
        scores.index_fill_(-1, self.banned, -torch.inf)
        if produced < self.search.min_new_tokens:
            scores.index_fill_(-1, self.ends, -torch.inf)
        return scores

    def finish(self, row: int, ids: Sequence[int]) -> Finish | None:
        """How an answer that did not choose to end has ended, if it has."""
        if self.stop is not None and self.stop(row, ids):
            return "stop"
        return "length" if len(ids) >= self.limits[row] else None


NOT_FINITE = Generated((), "nan", math.nan)
"""What is found for a prompt whose scores are not finite: damaged weights, or too narrow a dtype.
Its batch-mates go on."""
