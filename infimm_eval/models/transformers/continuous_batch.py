"""Continuous batching: greedy rows leave as they finish, and waiting prompts join in their place.

Knows ids and scores; who waits and in which order is the engine's business.

Shapes: R rows, L places of the cache, A axes of positions, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from infimm_eval.models.transformers.reader import Read, Reader, below
from infimm_eval.models.transformers.requests import Job, Tokens
from infimm_eval.models.transformers.search import GreedySearch


@dataclass(slots=True, eq=False)
class _Row:
    job: Job
    prompt: Tokens
    ids: list[int] = field(default_factory=list)
    running: bool = True


class Ended(NamedTuple):
    """A row that is complete: its new ids, the one that ended it too, and how many of them were
    chosen by finite scores."""

    job: Job
    ids: list[int]
    finite: int


class ContinuousBatch:
    """At most ``rows`` sequences side by side, all with the same search."""

    def __init__(self, reader: Reader, search: GreedySearch, rows: int) -> None:
        self._reader = reader
        self._search = search
        self._most = rows
        self._rows: list[_Row] = []
        self._read: Read | None = None

    def __len__(self) -> int:
        """Rows, running and free."""
        return self._most

    @property
    def running(self) -> list[Job]:
        """The jobs that are being answered."""
        return [row.job for row in self._rows if row.running]

    @property
    def free(self) -> int:
        """Rows that a job may join."""
        return self._most - sum(row.running for row in self._rows)

    def join(self, jobs: Sequence[Job]) -> None:
        """Reads the prompts into free rows."""
        prompts = [job.tokens for job in jobs if job.tokens is not None]
        groups = self._reader.read(prompts)
        kept = [place for place, row in enumerate(self._rows) if row.running]
        parts = [(self._read, kept)] if self._read is not None and kept else []
        parts += [(read, list(range(len(places)))) for places, read in groups]
        order = [place for places, _ in groups for place in places]
        joined = [_Row(jobs[place], prompts[place]) for place in order]
        self._read = below(parts)
        self._rows = [self._rows[place] for place in kept] + joined

    def advance(self) -> list[Ended]:
        """One more token for every running row; returns those that are complete.  Where it raises,
        every row is still among the running."""
        self._close_up()
        assert self._read is not None
        sees = self._search.sees
        lately = [_lately(row, sees) for row in self._rows]
        ages = [len(row.ids) for row in self._rows]
        tokens, finite = self._search.choose(self._read.logits, lately, ages)
        after = [[*seen, token][-sees:] for seen, token in zip(lately, tokens, strict=True)]
        stopped = self._search.stopped(after)
        ended = []
        for row, token, sure, stop in zip(self._rows, tokens, finite, stopped, strict=True):
            full = len(row.ids) + 1 >= self._search.most
            if row.running and (full or stop or not sure or token in self._search.ends):
                ended.append((row, Ended(row.job, [*row.ids, token], len(row.ids) + sure)))
        if len(ended) < len(self.running):
            self._step(self._read, tokens)
        # Only now: were memory to give out in the step, answers of rows gone before would be lost.
        for row, _ in ended:
            row.running = False
        for row, token in zip(self._rows, tokens, strict=True):
            row.ids.append(token)
        return [answer for _, answer in ended]

    def _close_up(self) -> None:
        """Gives up rows that are over, once they are a quarter."""
        going = [place for place, row in enumerate(self._rows) if row.running]
        if self._read is not None and len(going) * 4 <= len(self._rows) * 3:
            self._read = below([(self._read, going)])
            self._rows = [self._rows[place] for place in going]

    def _step(self, read: Read, tokens: list[int]) -> None:
        """Computes what comes after these tokens."""
        mask = torch.cat([read.mask, read.mask.new_ones(len(tokens), 1)], dim=1)
        positions = read.positions + 1
        column = torch.tensor(tokens)[:, None]
        output = self._reader.forward(column, mask, positions[..., None], read.cache)
        self._read = Read(output.past_key_values, mask, positions, output.logits[:, -1])


def _lately(row: _Row, count: int) -> list[int]:
    """The last tokens of prompt and answer."""
    short = count - len(row.ids)
    return [*row.prompt.ids[-short:], *row.ids] if short > 0 else row.ids[-count:]
