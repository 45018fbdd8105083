"""The KV cache: what a decoding sequence remembers, keys and values of its text and of the picture
that it sees.

Knows nothing of layers' mathematics or of search; rows may come, go and be copied at any time.

Shapes: R rows, C capacity in tokens, G key heads, d head width, h heads and V latents of the gated
blocks.  A row's tokens fill places 0, 1, 2, ... without padding, whatever its batch-mates do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class KVShape(NamedTuple):
    """What a decoder asks to be remembered of every token: keys and values of its layers."""

    layers: int
    heads: int
    head_width: int


class MediaShape(NamedTuple):
    """What gated blocks ask to be remembered of the picture that a row sees."""

    blocks: int
    latents: int
    heads: int
    head_width: int


class KVCache:
    """Preallocated memory for R sequences.

    `lengths[r]` counts the places row r has filled; a row of length 0 is free, and a step computes
    it and discards the result, so that shapes stay fixed while rows leave and join.  `flags_R` is
    1 for rows with a picture tag.  Per layer `keys` and `values` are (R, G, C, d); `positions_RC`
    says where in the text the token at a place stands, which in a tree of continuations is not
    the place itself.  `pictures` is (gated blocks, R, V, 2, h, d), keys and values: only the
    picture that coming text sees, because attention is to the latest picture alone.
    """

    def __init__(
        self,
        text: KVShape,
        media: MediaShape,
        rows: int,
        capacity: int,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        place = (rows, text.heads, capacity, text.head_width)
        layers = range(text.layers)
        self.keys = [torch.zeros(place, device=device, dtype=dtype) for _ in layers]
        self.values = [torch.zeros(place, device=device, dtype=dtype) for _ in layers]
        self.positions_RC = torch.arange(capacity, device=device).repeat(rows, 1)
        pictures = (media.blocks, rows, media.latents, 2, media.heads, media.head_width)
        self.pictures = torch.zeros(pictures, device=device, dtype=dtype)
        self.flags_R = torch.zeros(rows, device=device, dtype=dtype)
        self._all = torch.arange(rows, device=device)
        self.lengths = [0] * rows

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def capacity(self) -> int:
        """C, tokens of a row, prompt and answer together."""
        return self.keys[0].shape[2]

    def set_positions(self, rows: Tensor | None, at_BT: Tensor, positions_BT: Tensor) -> None:
        """The tokens that come to places `at_BT` stand at `positions_BT` of their text."""
        rows = self._all if rows is None else rows
        self.positions_RC[rows[:, None], at_BT] = positions_BT

    def positions(self, rows: Tensor | None, length: int) -> Tensor:
        """Text positions of places 0..length-1, (B, length)."""
        positions_RS = self.positions_RC[:, :length]
        return positions_RS if rows is None else positions_RS[rows]

    def write(
        self, layer: int, rows: Tensor | None, at_BT: Tensor, k_BGTd: Tensor, v_BGTd: Tensor
    ) -> None:
        """Puts T new keys and values of each row at its places `at_BT`."""
        rows = self._all if rows is None else rows
        # The types differ under autocast alone.
        for kept, new in ((self.keys[layer], k_BGTd), (self.values[layer], v_BGTd)):
            kept[rows[:, None], :, at_BT] = new.transpose(1, 2).to(kept.dtype)

    def read(self, layer: int, rows: Tensor | None, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of places 0..length-1: a view of all rows, a copy of some."""
        k, v = self.keys[layer][:, :, :length], self.values[layer][:, :, :length]
        return (k, v) if rows is None else (k[rows], v[rows])

    def seen(self, gate: int, rows: Tensor | None) -> Tensor:
        """What gated block number `gate` showed these rows last, (B, V, 2, h, d)."""
        return self.pictures[gate] if rows is None else self.pictures[gate, rows]

    def see(self, gate: int, rows: Tensor | None, seen_BV2hd: Tensor) -> None:
        """What coming text of these rows sees through gated block number `gate`."""
        where = slice(None) if rows is None else rows
        self.pictures[gate, where] = seen_BV2hd.to(self.pictures.dtype)

    def places(self, tokens: int) -> Tensor:
        """The next places of every row, (R, tokens)."""
        start_R1 = torch.tensor(self.lengths, device=self.flags_R.device)[:, None]
        return start_R1 + torch.arange(tokens, device=start_R1.device)

    def grow(self, tokens: int) -> None:
        """The next places of every row are filled; free rows stay free."""
        self.lengths = [n + tokens if n else 0 for n in self.lengths]

    def select(self, rows: Sequence[int]) -> None:
        """Keeps these rows in this order; a row named twice is copied."""
        index = torch.tensor(rows, device=self.flags_R.device)
        for layers in (self.keys, self.values):  # one layer's old rows at a time beside the new
            for i, kept in enumerate(layers):
                layers[i] = kept[index]
        self.positions_RC = self.positions_RC[index]
        self.pictures = self.pictures[:, index]
        self.flags_R = self.flags_R[index]
        self._all = torch.arange(len(index), device=index.device)
        self.lengths = [self.lengths[r] for r in rows]

    @torch.inference_mode()
    def free(self, rows: Sequence[int]) -> None:
        """Empties these rows for other sequences."""
        if not rows:
            return
        for r in rows:
            self.lengths[r] = 0
        index = torch.tensor(rows, device=self.flags_R.device)
        self.flags_R[index] = 0
        self.pictures[:, index] = 0

    @torch.inference_mode()
    def unsee(self, rows: Sequence[int]) -> None:
        """Coming text of these rows sees no picture: zeros, of which attention makes nothing."""
        self.pictures[:, torch.tensor(rows, device=self.flags_R.device)] = 0

    @torch.inference_mode()
    def clear(self, rows: Sequence[int]) -> None:
        """The same of rows whose numbers are not finite, which would reach the next sequence in
        them: a place that is not seen counts with weight zero, and zero times NaN is NaN."""
        self.free(rows)
        for kept in (*self.keys, *self.values):
            kept[list(rows)] = 0

    def adopt(self, rows: Sequence[int], other: KVCache, source: Sequence[int]) -> None:
        """Copies rows `source` of another cache (or this one) into these rows.

        How a sequence joins a running batch, and how one prompt's beginning is shared by several.
        ValueError if they do not fit.
        """
        length = max(other.lengths[s] for s in source)
        if length > self.capacity:
            raise ValueError(f"{length} tokens do not fit into a cache of {self.capacity}")
        to = torch.tensor(rows, device=self.flags_R.device)
        of = torch.tensor(source, device=self.flags_R.device)
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            mine[to, :, :length] = theirs[of, :, :length]
        self.positions_RC[to, :length] = other.positions_RC[of, :length]
        self.pictures[:, to] = other.pictures[:, of]
        self.flags_R[to] = other.flags_R[of]
        for r, s in zip(rows, source, strict=True):
            self.lengths[r] = other.lengths[s]
