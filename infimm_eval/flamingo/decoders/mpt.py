"""MosaicML's decoders with ALiBi (Press et al. 2021, arXiv:2108.12409): MPT, and MosaicGPT, which
MPT-1B was released as.

Knows nothing of pixels, padding, caches or search.

They share their mathematics: no biases, one table for input and output.  They differ in the names
of parameters, and in ALiBi's slopes where the number of heads is no power of two.

The bias is computed in float32 from positions in the text, as the distance to the query, and then
rounded once to the type of the scores: in bfloat16 by 0.2 % of itself at most, so that it is off by
more than 0.02 only where it takes 8 off a score.  MosaicGPT's own code, put wholly into bfloat16,
adds numbers rounded as distances to the last key, off by up to 7 over 2048 tokens; under autocast,
which its results were made with, they are float32.

Shapes: B rows, T tokens, S keys, M width, H heads, d head width, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.flamingo.attention import join_heads, split_heads
from infimm_eval.flamingo.kernels import output_layer
from infimm_eval.flamingo.kv_cache import KVShape
from infimm_eval.flamingo.protocols import Attend
from infimm_eval.flamingo.section import Number, Section, Size, SomeNumber, Switch

_Slopes: TypeAlias = Callable[[int, float, torch.device], Tensor]
"""How many heads there are, and the exponent of the last one's slope -> every head's, (H,)."""


@dataclass(frozen=True)
class MptAttentionConfig(Section):
    """The part `attn_config` of an MPT's description.

    `clip_qkv` bounds queries, keys and values; `qk_ln` norms whole queries and keys, all heads
    together; `softmax_scale` None is 1 / sqrt(d).
    """

    alibi: Switch = True
    alibi_bias_max: Number = 8
    clip_qkv: SomeNumber = None
    qk_ln: Switch = False
    softmax_scale: SomeNumber = None

    _PLACE = "'attn_config'"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alibi:
            raise self.error("has alibi false; learned positions are not built")
        for key, only in (
            ("attn_type", "multihead_attention"),
            ("prefix_lm", False),
            ("attn_uses_sequence_id", False),
        ):
            if self.extra.get(key, only) != only:
                raise self.error(f"has {key} {self.extra[key]!r}, not {only!r}")


@dataclass(frozen=True)
class MptConfig(Section):
    """An MPT under the names of its own configuration, which transformers took over."""

    model_type: str
    vocab_size: Size = 50368
    d_model: Size = 2048
    n_heads: Size = 16
    n_layers: Size = 24
    expansion_ratio: Size = 4
    max_seq_len: Size = 2048
    layer_norm_epsilon: Number = 1e-5
    no_bias: Switch = True
    logit_scale: float | str | None = None
    attn_config: MptAttentionConfig = field(default_factory=MptAttentionConfig)

    _PLACE = "the MPT language model"

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Reads a parsed `config.json`, or the part of one, whose `model_type` is "mpt"."""
        attention = given.get("attn_config") or {}
        if not isinstance(attention, Mapping):
            raise cls.error(f"has attn_config {attention!r}, not an object")
        return super().from_dict({**given, "attn_config": MptAttentionConfig.from_dict(attention)})

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)
        norm = self.extra.get("norm_type", "layernorm")
        if norm not in ("layernorm", "low_precision_layernorm"):
            raise self.error(f"has norm_type {norm!r}, not 'low_precision_layernorm'")

    @property
    def attention(self) -> MptAttentionConfig:
        """How its layers attend."""
        return self.attn_config

    @property
    def ff_width(self) -> int:
        """Inner width of a feed-forward."""
        return self.expansion_ratio * self.d_model


@dataclass(frozen=True)
class MosaicGptConfig(Section):
    """A MosaicGPT, as which MPT-1B was released, under the names of its own configuration."""

    model_type: str
    vocab_size: Size = 50368
    d_model: Size = 2048
    n_heads: Size = 16
    n_layers: Size = 24
    mlp_ratio: Size = 4
    max_seq_len: Size = 2048
    alibi: Switch = False
    alibi_bias_max: Number = 8
    attn_clip_qkv: SomeNumber = None
    attn_qk_ln: Switch = False
    softmax_scale: SomeNumber = None
    no_bias: Switch = False
    logit_scale: float | str | None = None

    _PLACE = "the MosaicGPT language model"

    layer_norm_epsilon: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self)
        if not self.alibi:
            raise self.error("has alibi false; learned positions are not built")
        if self.extra.get("prefix_lm") or self.extra.get("attn_uses_sequence_id"):
            raise self.error("has prefix_lm or attn_uses_sequence_id, neither of which is built")

    @property
    def attention(self) -> MptAttentionConfig:
        """How its layers attend."""
        return MptAttentionConfig(
            alibi_bias_max=self.alibi_bias_max,
            clip_qkv=self.attn_clip_qkv,
            qk_ln=self.attn_qk_ln,
            softmax_scale=self.softmax_scale,
        )

    @property
    def ff_width(self) -> int:
        """Inner width of a feed-forward."""
        return self.mlp_ratio * self.d_model


def _check(config: MptConfig | MosaicGptConfig) -> None:
    if config.d_model % config.n_heads:
        raise config.error(
            f"has d_model {config.d_model}, not a multiple of {config.n_heads} heads"
        )
    if not config.no_bias:
        raise config.error("has no_bias false; only layers without biases are built")
    scale = config.logit_scale
    if isinstance(scale, str) and scale != "inv_sqrt_d_model":
        raise config.error(f"has logit_scale {scale!r}, not a number or 'inv_sqrt_d_model'")


class _Alibi(nn.Module):
    """Token ids in, final hidden states out; `logits` turns those into scores.  `last` is the name
    of the last norm, `rule` that of the slopes."""

    sliding_window: None = None

    def __init__(
        self,
        config: MptConfig | MosaicGptConfig,
        blocks: Iterable[nn.Module],
        last: str,
        rule: _Slopes,
    ) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(blocks)
        self.add_module(last, _norm(config))
        self.last, self.rule = last, rule
        nn.init.normal_(self.wte.weight, std=0.02)

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks, in order."""
        return self.blocks

    @property
    def width(self) -> int:
        """M."""
        return self.config.d_model

    @property
    def ff_width(self) -> int:
        """Inner width of the feed-forward."""
        return self.config.ff_width

    @property
    def vocab_size(self) -> int:
        """Y."""
        return self.config.vocab_size

    @property
    def heads(self) -> int:
        """H."""
        return self.config.n_heads

    @property
    def kv(self) -> KVShape:
        """Every head has keys and values of its own."""
        return KVShape(self.config.n_layers, self.heads, self.width // self.heads)

    @property
    def context_length(self) -> int:
        """Positions that the model was trained for, which its own code takes no more than."""
        return self.config.max_seq_len

    def embed(self, ids_BT: Tensor) -> Tensor:
        """(B, T) -> (B, T, M)."""
        x_BTM: Tensor = self.wte(ids_BT)
        return x_BTM

    def rotation(self, positions_BT: Tensor, dtype: torch.dtype) -> None:
        """Nothing turns: positions count in `position_bias` alone."""

    def position_bias(self, query_BT: Tensor, key_BS: Tensor) -> Tensor:
        """-slope * distance, float32: (B, T) and (B, S) -> (B, H, T, S)."""
        slope_H11 = self.slopes(query_BT.device)[:, None, None]
        return slope_H11 * (key_BS[:, None, None, :] - query_BT[:, None, :, None])

    def slopes(self, device: torch.device) -> Tensor:
        """ALiBi's slope of every head, (H,), float32."""
        return self.rule(self.heads, self.config.attention.alibi_bias_max, device)

    def norm(self, x_BTM: Tensor) -> Tensor:
        """The last layer's output -> the final hidden states, (B, T, M)."""
        x_BTM = self.get_submodule(self.last)(x_BTM)
        return x_BTM

    def logits(self, x_BTM: Tensor) -> Tensor:
        """(..., M) -> (..., Y), float32."""
        scores = output_layer(x_BTM, self.wte.weight)
        scale = self.config.logit_scale
        if scale is None:
            return scores
        return scores * (self.width**-0.5 if isinstance(scale, str) else scale)


class Mpt(_Alibi):
    """An MPT; its last norm is `norm_f`."""

    def __init__(self, config: MptConfig) -> None:
        blocks = (_MptBlock(config) for _ in range(config.n_layers))
        super().__init__(config, blocks, "norm_f", _of_the_next_power)


class MosaicGpt(_Alibi):
    """A MosaicGPT; its last norm is `ln_f`."""

    def __init__(self, config: MosaicGptConfig) -> None:
        blocks = (_MosaicBlock(config) for _ in range(config.n_layers))
        super().__init__(config, blocks, "ln_f", _falling)


class _MptBlock(nn.Module):
    """x += attn(norm(x));  x += ffn(norm(x))."""

    def __init__(self, config: MptConfig) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = _norm(config), _norm(config)
        self.attn = _SelfAttention(config)
        self.ffn = _FeedForward(config, "up_proj", "down_proj")

    def forward(self, x_BTM: Tensor, rotation: None, attend: Attend) -> Tensor:
        x_BTM = attend.going_on(x_BTM) + self.attn(self.norm_1(x_BTM), attend)
        x_BTM = x_BTM + self.ffn(self.norm_2(x_BTM))
        return x_BTM


class _MosaicBlock(nn.Module):
    """x += attn(ln(x));  x += mlp(ln(x))."""

    def __init__(self, config: MosaicGptConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = _norm(config), _norm(config)
        self.attn = _SelfAttention(config)
        self.mlp = _FeedForward(config, "mlp_up", "mlp_down")

    def forward(self, x_BTM: Tensor, rotation: None, attend: Attend) -> Tensor:
        x_BTM = attend.going_on(x_BTM) + self.attn(self.ln_1(x_BTM), attend)
        x_BTM = x_BTM + self.mlp(self.ln_2(x_BTM))
        return x_BTM


class _SelfAttention(nn.Module):
    def __init__(self, config: MptConfig | MosaicGptConfig) -> None:
        super().__init__()
        M, how = config.d_model, config.attention
        self.head_width = M // config.n_heads
        self.clip = how.clip_qkv
        # `attend` divides by sqrt(d).
        scale = how.softmax_scale
        self.rescale = None if scale is None else scale * self.head_width**0.5
        self.Wqkv = nn.Linear(M, 3 * M, bias=False)
        self.out_proj = nn.Linear(M, M, bias=False)
        self.q_ln = _norm(config) if how.qk_ln else None
        self.k_ln = _norm(config) if how.qk_ln else None

    def forward(self, x_BTM: Tensor, attend: Attend) -> Tensor:
        qkv = self.Wqkv(x_BTM)
        if self.clip is not None:
            qkv = qkv.clamp(-self.clip, self.clip)
        q, k, v = qkv.chunk(3, dim=-1)
        if self.q_ln is not None and self.k_ln is not None:
            q, k = self.q_ln(q), self.k_ln(k)
        if self.rescale is not None:
            q = q * self.rescale
        q, k, v = (split_heads(y, self.head_width) for y in (q, k, v))
        x_BTM = self.out_proj(join_heads(attend(q, k, v)))
        return x_BTM


class _FeedForward(nn.Module):
    """down(gelu(up(x))), the two linear layers under the names given."""

    def __init__(self, config: MptConfig | MosaicGptConfig, up: str, down: str) -> None:
        super().__init__()
        self.names = up, down
        self.add_module(up, nn.Linear(config.d_model, config.ff_width, bias=False))
        self.add_module(down, nn.Linear(config.ff_width, config.d_model, bias=False))

    def forward(self, x_BTM: Tensor) -> Tensor:
        up, down = map(self.get_submodule, self.names)
        x_BTM = down(F.gelu(up(x_BTM)))
        return x_BTM


def _norm(config: MptConfig | MosaicGptConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.d_model, eps=config.layer_norm_epsilon, bias=False)


def _falling(heads: int, most: float, device: torch.device) -> Tensor:
    """2^(-most j / H) for j = 1..H."""
    return torch.exp2(torch.arange(1, heads + 1, device=device) * (-most / heads))


def _of_the_next_power(heads: int, most: float, device: torch.device) -> Tensor:
    """The same for H a power of two; else those of the next, every second one from the second on
    before the others."""
    slopes = _falling(1 << (heads - 1).bit_length(), most, device)
    return slopes if len(slopes) == heads else torch.cat([slopes[1::2], slopes[::2]])[:heads]
