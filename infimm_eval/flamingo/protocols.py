"""What a vision tower and a decoder have to offer, so that a `Flamingo` can be composed of them.

Knows no tower and no decoder.

Shapes: I pictures, N visual tokens, W their width, B rows, T tokens, S keys, M text width, H query
heads, G key heads, d head width, Q tokens that go on, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from infimm_eval.flamingo.kv_cache import KVShape


class Attend(Protocol):
    """Attention as a layer sees it: keys of earlier text, what is visible and
    `Decoder.position_bias` are on the other side of the call."""

    def __call__(self, q_BHTd: Tensor, k_BGTd: Tensor, v_BGTd: Tensor, /) -> Tensor:
        """The layer's queries, keys and values -> (B, H, Q, d), of the tokens that go on."""

    def going_on(self, x_BTM: Tensor, /) -> Tensor:
        """(B, T, M) -> (B, Q, M): the tokens that this layer makes hidden states of.  All, but in
        the last layer only those whose scores are wanted: of the others keys and values do."""


class Tower(Protocol):
    """A vision tower; also a `torch.nn.Module`."""

    @property
    def width(self) -> int:
        """W, the width of a visual token."""

    @property
    def image_size(self) -> int:
        """Pixels along a side of the pictures that it reads."""

    def __call__(self, pixels_I3HW: Tensor, /) -> Tensor:
        """(I, 3, image_size, image_size) -> the tokens that the resampler reads, (I, N, W)."""


class DecoderLayer(Protocol):
    """One layer of a decoder, residuals included."""

    def __call__(self, x_BTM: Tensor, rotation: Any, attend: Attend, /) -> Tensor:
        """(B, T, M) -> (B, Q, M), added to what `attend.going_on` leaves of its input.  Calls
        `attend` once, with queries and keys that `rotation`, what `Decoder.rotation` gave for this
        chunk of text, was applied to."""


class Decoder(Protocol):
    """A causal language model; also a `torch.nn.Module`.

    Its position encoding is a rotation of queries and keys (rope), an additive bias on their
    scores (ALiBi), or both.  Text is given as tokens and their positions, which count the real
    tokens of a row from 0; padding, caches and what is visible are the caller's.
    """

    @property
    def layers(self) -> Iterable[DecoderLayer]:
        """In order.  A gated block may act before any of them."""

    @property
    def width(self) -> int:
        """M, of the text's hidden states."""

    @property
    def ff_width(self) -> int:
        """Inner width of a layer's feed-forward, for estimates of memory."""

    @property
    def vocab_size(self) -> int:
        """Y, as many ids as `logits` scores."""

    @property
    def heads(self) -> int:
        """H, query heads of a layer."""

    @property
    def kv(self) -> KVShape:
        """What a KV cache must remember of a token."""

    @property
    def context_length(self) -> int:
        """The most tokens of a text, prompt and answer together."""

    @property
    def sliding_window(self) -> int | None:
        """A position sees itself and so many minus one before it; None: all."""

    def embed(self, ids_BT: Tensor) -> Tensor:
        """(B, T) -> (B, T, M)."""

    def rotation(self, positions_BT: Tensor, dtype: torch.dtype) -> Any:
        """What every layer needs to rotate queries and keys that stand there; None: nothing."""

    @property
    def position_bias(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """Positions of queries (B, T) and of keys (B, S) -> what is added to their scores,
        (B, H, T, S); a constant for all keys of a query changes nothing.  None, for decoders
        without such a bias, leaves plain causal attention to faster kernels."""

    @property
    def norm(self) -> Callable[[Tensor], Tensor]:
        """The last layer's output -> the final hidden states, (B, Q, M)."""

    def logits(self, x_BTM: Tensor) -> Tensor:
        """Final hidden states (..., M) -> scores (..., Y), float32."""
