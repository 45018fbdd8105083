"""One call's worth of text, and the attention among its tokens and those before them.

Knows nothing of a decoder's mathematics: layers hand in queries, keys and values.

Shapes: B rows, T tokens, Q of them that go on, S keys, M width, H query heads, G key heads, d head
width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from infimm_eval.flamingo.attention import attend, position_bias, visibility_bias
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.media import Media
from infimm_eval.flamingo.protocols import Attend, Decoder


@dataclass(frozen=True)
class Chunk:
    """Where each token stands and what it sees.

    `positions_BT` count real tokens from 0.  `visible_BTS` is over keys, at least one for every
    token; None is plain causal attention among the chunk's own tokens.  `flag_B11` and `media` are
    for the gated blocks.  With `cache`, keys are written to its `rows` (None: all) at `at_BT`, and
    read back from there up to S = `keys`, unless `keys` is 0: then only the chunk's own are read,
    and every row begins with it.  `wanted_B` names the one token of each row whose final hidden
    state is asked for; None asks for all.
    """

    positions_BT: Tensor
    flag_B11: Tensor
    visible_BTS: Tensor | None = None
    media: Media | None = None
    cache: KVCache | None = None
    rows: Tensor | None = None
    at_BT: Tensor | None = None
    keys: int = 0
    wanted_B: Tensor | None = None

    def remember(self, layer: int, k_BGTd: Tensor, v_BGTd: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the layer's new keys and values; returns those to attend to."""
        if self.cache is None or self.at_BT is None:
            return k_BGTd, v_BGTd
        self.cache.write(layer, self.rows, self.at_BT, k_BGTd, v_BGTd)
        return self.cache.read(layer, self.rows, self.keys) if self.keys else (k_BGTd, v_BGTd)

    def positions(self) -> tuple[Tensor, Tensor]:
        """Text positions of the queries, (B, T), and of the keys, (B, S); where all rows have the
        same, of one row."""
        if self.cache is None or not self.keys:
            return self.positions_BT[:1], self.positions_BT[:1]
        return self.positions_BT, self.cache.positions(self.rows, self.keys)

    def wanted(self, x_BTN: Tensor) -> Tensor:
        """Of each row's tokens the one that is wanted: (B or 1, T, N) -> (B, 1, N)."""
        if self.wanted_B is None:
            return x_BTN
        rows_B = torch.arange(len(self.wanted_B), device=x_BTN.device)
        return x_BTN[rows_B if len(x_BTN) > 1 else 0 * rows_B, self.wanted_B][:, None]


class SelfAttention:
    """A chunk's attention in every layer of a decoder; what is added to scores is made once."""

    def __init__(self, decoder: Decoder, chunk: Chunk, dtype: torch.dtype) -> None:
        self._chunk = chunk
        self._last = decoder.kv.layers - 1
        self._bias = _bias(decoder, chunk, dtype)
        self._last_bias = self._bias
        if chunk.wanted_B is not None:
            self._last_bias = _bias(decoder, chunk, dtype, wanted=True)

    def of(self, layer: int) -> Attend:
        """What that layer is to call."""
        if layer < self._last:
            return _LayerAttention(self._chunk, layer, self._bias, wanted=False)
        return _LayerAttention(self._chunk, layer, self._last_bias, wanted=True)


@dataclass(frozen=True)
class _LayerAttention:
    chunk: Chunk
    layer: int
    bias: Tensor | None
    wanted: bool
    """Whether the wanted tokens alone go on."""

    def __call__(self, q_BHTd: Tensor, k_BGTd: Tensor, v_BGTd: Tensor) -> Tensor:
        k_BGSd, v_BGSd = self.chunk.remember(self.layer, k_BGTd, v_BGTd)
        q_BHQd = self.going_on(q_BHTd.transpose(1, 2)).transpose(1, 2)
        return attend(q_BHQd, k_BGSd, v_BGSd, bias=self.bias, causal=self.bias is None)

    def going_on(self, x_BTM: Tensor) -> Tensor:
        return self.chunk.wanted(x_BTM) if self.wanted else x_BTM


def _bias(
    decoder: Decoder, chunk: Chunk, dtype: torch.dtype, *, wanted: bool = False
) -> Tensor | None:
    """What `attend` adds to scores, of all queries or of the wanted; None is plain causal
    attention, which has faster kernels."""
    visible_BTS, heads = chunk.visible_BTS, decoder.heads // decoder.kv.heads
    if decoder.position_bias is None and not wanted:
        return None if visible_BTS is None else visibility_bias(visible_BTS, dtype, heads)
    query_BT, key_BS = chunk.positions()
    if visible_BTS is None:
        visible_BTS = key_BS[:, None] <= query_BT[..., None]
    if wanted:
        query_BT, visible_BTS = chunk.wanted(query_BT[..., None])[..., 0], chunk.wanted(visible_BTS)
    if decoder.position_bias is None:
        return visibility_bias(visible_BTS, dtype, heads)
    return position_bias(decoder.position_bias(query_BT, key_BS), visible_BTS, dtype, heads)
