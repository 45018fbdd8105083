"""The causal language model with gated blocks between its layers: Mistral (Jiang et al. 2023,
arXiv:2310.06825) and LLaMA (Touvron et al. 2023, arXiv:2302.13971), which differ by numbers only.

Knows nothing of pixels, padding or search: a `Chunk` says where each token stands and what it sees.

Shapes: B rows, T tokens, M width, H query heads, G key heads, d head width, S keys, Y vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.flamingo.attention import attend, bias_of, join_heads
from infimm_eval.flamingo.config import DecoderConfig, FlamingoConfig
from infimm_eval.flamingo.fused_linear import FusedLinear
from infimm_eval.flamingo.gated import GatedBlock, Media
from infimm_eval.flamingo.kv_cache import KVCache

Rope: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Chunk:
    """One call's worth of text.

    `positions_BT` count real tokens from 0.  `visible_BTS` is over keys, at least one for every
    token; None is plain causal attention among the chunk's own tokens.  `flag_B11` and `media` are
    for the gated blocks.  With `cache`, keys are written to its `rows` (None: all) at `at_BT`, and
    read back from there up to S = `keys`, unless `keys` is 0: then only the chunk's own are read.
    """

    positions_BT: Tensor
    flag_B11: Tensor
    visible_BTS: Tensor | None = None
    media: Media | None = None
    cache: KVCache | None = None
    rows: Tensor | None = None
    at_BT: Tensor | None = None
    keys: int = 0

    def remember(self, layer: int, k_BGTd: Tensor, v_BGTd: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the layer's new keys and values; returns those to attend to."""
        if self.cache is None or self.at_BT is None:
            return k_BGTd, v_BGTd
        self.cache.write(layer, self.rows, self.at_BT, k_BGTd, v_BGTd)
        return self.cache.read(layer, self.rows, self.keys) if self.keys else (k_BGTd, v_BGTd)


class Decoder(nn.Module):
    """Token ids in, final hidden states out; `logits` turns those into scores."""

    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        language = config.language
        self.config = language
        self.model = _Body(config)
        self.lm_head = (
            None
            if language.tie_word_embeddings
            else nn.Linear(language.hidden_size, language.vocab_size, bias=False)
        )
        for table in (self.model.embed_tokens, self.lm_head):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids_BT: Tensor, chunk: Chunk) -> Tensor:
        """(B, T) -> (B, T, M), after the final norm."""
        x_BTM: Tensor = self.model(ids_BT, chunk)
        return x_BTM

    def join(self) -> None:
        """Brings weights that are read together into one memory; for inference, where they stay."""
        layer: Any
        for layer in self.model.layers:
            layer.decoder_layer.self_attn.qkv.join()

    def logits(self, x_BTM: Tensor) -> Tensor:
        """(..., M) -> (..., Y), float32."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return F.linear(x_BTM, head.weight).float()


class _Body(nn.Module):
    def __init__(self, config: FlamingoConfig) -> None:
        super().__init__()
        language = config.language
        self.embed_tokens = nn.Embedding(language.vocab_size, language.hidden_size)
        self.layers = nn.ModuleList(
            _Layer(config, gated=i in config.gated_layers)
            for i in range(language.num_hidden_layers)
        )
        self.norm = _RMSNorm(language)
        self.head_width, self.theta = language.head_width, language.rope_theta
        self.heads_per_key = language.num_attention_heads // language.kv_heads

    def forward(self, ids_BT: Tensor, chunk: Chunk) -> Tensor:
        x_BTM: Tensor = self.embed_tokens(ids_BT)
        cos, sin = rotary_angles(chunk.positions_BT, self.head_width, self.theta)
        rope = cos.to(x_BTM.dtype), sin.to(x_BTM.dtype)
        visible = chunk.visible_BTS
        bias = None if visible is None else bias_of(visible, x_BTM.dtype, self.heads_per_key)
        gates = 0
        layer: Any
        for i, layer in enumerate(self.layers):
            if layer.gated_cross_attn_layer is not None:
                x_BTM = self._look(layer.gated_cross_attn_layer, gates, x_BTM, chunk)
                gates += 1
            x_BTM = layer.decoder_layer(x_BTM, rope, bias, chunk, i)
        x_BTM = self.norm(x_BTM)
        return x_BTM

    def _look(self, block: GatedBlock, gate: int, x_BTM: Tensor, chunk: Chunk) -> Tensor:
        """Through a gated block, which is told what the rows saw and says what they see now."""
        cache, media = chunk.cache, chunk.media
        fresh = media is not None and media.fresh
        seen = None if cache is None or fresh else cache.seen(gate, chunk.rows)
        x_BTM, seen = block(x_BTM, chunk.flag_B11, seen, media)
        if cache is not None and media is not None:
            cache.see(gate, chunk.rows, seen)
        return x_BTM


class _Layer(nn.Module):
    """A decoder layer and, before some, a gated block; named as in the original checkpoints."""

    def __init__(self, config: FlamingoConfig, *, gated: bool) -> None:
        super().__init__()
        self.gated_cross_attn_layer = (
            GatedBlock(config.language.hidden_size, config.visual.width, config.gated)
            if gated
            else None
        )
        self.decoder_layer = _DecoderLayer(config.language)


class _DecoderLayer(nn.Module):
    """x += attn(norm(x));  x += down(silu(gate(norm(x))) * up(norm(x)))."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = _SelfAttention(config)
        self.mlp = _MLP(config)
        self.input_layernorm = _RMSNorm(config)
        self.post_attention_layernorm = _RMSNorm(config)

    def forward(
        self, x_BTM: Tensor, rope: Rope, bias: Tensor | None, chunk: Chunk, index: int
    ) -> Tensor:
        x_BTM = x_BTM + self.self_attn(self.input_layernorm(x_BTM), rope, bias, chunk, index)
        x_BTM = x_BTM + self.mlp(self.post_attention_layernorm(x_BTM))
        return x_BTM


class _SelfAttention(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        M, d = config.hidden_size, config.head_width
        self.head_width = d
        self.heads = [config.num_attention_heads, config.kv_heads]
        self.q_proj = nn.Linear(M, config.num_attention_heads * d, bias=False)
        self.k_proj = nn.Linear(M, config.kv_heads * d, bias=False)
        self.v_proj = nn.Linear(M, config.kv_heads * d, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * d, M, bias=False)
        self.qkv = FusedLinear(self.q_proj, self.k_proj, self.v_proj)

    def forward(
        self, x_BTM: Tensor, rope: Rope, bias: Tensor | None, chunk: Chunk, index: int
    ) -> Tensor:
        H, G = self.heads
        heads_BTNd = self.qkv(x_BTM).view(*x_BTM.shape[:2], H + 2 * G, self.head_width)
        turned_BNTd = rotate(heads_BTNd[:, :, : H + G], rope).transpose(1, 2)
        q_BHTd, k_BGTd = turned_BNTd[:, :H], turned_BNTd[:, H:]
        v_BGTd = heads_BTNd[:, :, H + G :].transpose(1, 2)
        k_BGSd, v_BGSd = chunk.remember(index, k_BGTd, v_BGTd)
        out_BHTd = attend(q_BHTd, k_BGSd, v_BGSd, bias=bias, causal=bias is None)
        x_BTM = self.o_proj(join_heads(out_BHTd))
        return x_BTM


class _MLP(nn.Module):
    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        M, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(M, inner, bias=False)
        self.up_proj = nn.Linear(M, inner, bias=False)
        self.down_proj = nn.Linear(inner, M, bias=False)

    def forward(self, x_BTM: Tensor) -> Tensor:
        x_BTM = self.down_proj(F.silu(self.gate_proj(x_BTM)) * self.up_proj(x_BTM))
        return x_BTM


class _RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, the mean in float32 (Zhang & Sennrich 2019).

    Rounded to x's dtype before the weight comes in, as in the released code.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x_BTM: Tensor) -> Tensor:
        normed_BTM = F.rms_norm(x_BTM, self.weight.shape, eps=self.eps)
        return self.weight * normed_BTM


def rotary_angles(positions_BT: Tensor, width: int, theta: float) -> Rope:
    """cos and sin, each (B, T, 1, d), float32: angle p theta^(-2i / d), once for each half of d
    (Su et al. 2021, arXiv:2104.09864, in LLaMA's half-split order); sin is negative in the first.
    """
    exponent = torch.arange(0, width, 2, device=positions_BT.device).float() / width
    angle_BT1f = positions_BT[:, :, None, None].float() / theta**exponent
    cos, sin = angle_BT1f.cos(), angle_BT1f.sin()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x_BTNd: Tensor, rope: Rope) -> Tensor:
    """Turns pairs (low, high), one from each half: low cos - high sin, high cos + low sin."""
    cos, sin = (t.to(x_BTNd.dtype) for t in rope)
    low, high = x_BTNd.chunk(2, dim=-1)
    return (x_BTNd * cos).addcmul(torch.cat([high, low], dim=-1), sin)
