"""The greedy search: what may be said next, and where an answer ends, by the library's own rules.

Knows ids and scores; where they come from is not its business.

Shapes: R rows, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from infimm_eval.types import Decoding

library: Any = import_module("transformers")

BEFORE = 2**31 - 1
"""No token: the library takes what is beyond its vocabulary for one that says nothing."""


class GreedySearch:
    """The search of ``model.generate`` without beams, row by row: rows may be of any age."""

    def __init__(
        self,
        decoding: Decoding,
        tokenizer: Any,
        *,
        banned: Sequence[Sequence[int]],
        ends: Collection[int],
        marks: Collection[int],
        device: torch.device,
    ) -> None:
        """``ends`` end an answer; ``marks`` and what is ``banned`` are never said."""
        self.ends = frozenset(ends)
        self.most = decoding.max_new_tokens
        self._least = decoding.min_new_tokens
        self._ends = torch.tensor(sorted(ends), device=device)
        self._marks = torch.tensor(sorted(set(marks) - self.ends), dtype=torch.long, device=device)
        self._rules: list[Any] = []
        self._stop: Any = None
        self.sees = 1
        """How many of a row's last tokens it looks at."""
        if banned:
            self._rules = [library.NoBadWordsLogitsProcessor(list(banned), sorted(ends))]
            self.sees = max(map(len, banned))
        if decoding.stop:
            self._stop = library.StopStringCriteria(tokenizer, list(decoding.stop))
            self.sees = max(self.sees, int(self._stop.maximum_token_len))

    def choose(
        self, logits_RY: Tensor, lately: Sequence[Sequence[int]], ages: Sequence[int]
    ) -> tuple[list[int], list[bool]]:
        """Each row's next token, and whether its scores are finite numbers.  ``lately`` are the
        last tokens that each row ``sees``; ``ages``, how many it has said."""
        scores = logits_RY.to(torch.float32, copy=True)
        if self._rules:
            seen = self._seen(lately, scores.device)
            for rule in self._rules:
                scores = rule(seen, scores)
        if self._least:
            young = [row for row, age in enumerate(ages) if age < self._least]
            rows = torch.tensor(young, dtype=torch.long, device=scores.device)
            scores[rows[:, None], self._ends] = -torch.inf
        scores.index_fill_(-1, self._marks, -torch.inf)
        tokens = scores.argmax(-1)
        # Side by side, so that an accelerator is waited for once.
        told = torch.stack([tokens, scores.amax(-1).isfinite().long()]).tolist()
        return told[0], list(map(bool, told[1]))

    def stopped(self, lately: Sequence[Sequence[int]]) -> list[bool]:
        """Whether a row has just come to the end of a stop string."""
        if self._stop is None or not lately:
            return [False] * len(lately)
        return [bool(done) for done in self._stop(self._seen(lately, self._ends.device), None)]

    def _seen(self, lately: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """(R, sees); rows that are shorter begin with what no tokenizer has."""
        rows = [[BEFORE] * (self.sees - len(ids)) + list(ids) for ids in lately]
        return torch.tensor(rows, device=device)
