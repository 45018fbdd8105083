"""LLaMA (Touvron et al. 2023, arXiv:2302.13971) and Mistral (Jiang et al. 2023, arXiv:2310.06825),
which differ by numbers only.

Knows nothing of pixels, padding, caches or search.

Shapes: B rows, T tokens, M width, H query heads, G key heads, d head width, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.flamingo.attention import join_heads
from infimm_eval.flamingo.fused_linear import FusedLinear
from infimm_eval.flamingo.kernels import output_layer, swiglu
from infimm_eval.flamingo.kv_cache import KVShape
from infimm_eval.flamingo.protocols import Attend
from infimm_eval.flamingo.rope import Rope, rotary_angles, rotate
from infimm_eval.flamingo.section import (
    Number,
    Section,
    Size,
    SomeId,
    SomeIds,
    SomeSize,
    Switch,
)

# What transformers 4.35 assumes for a key that the section leaves out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 11008, "max_position_embeddings": 2048},
    "mistral": {
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
}
_PLAIN_ROPE = (("rope_type", "default"), ("type", "default"))


@dataclass(frozen=True)
class LlamaConfig(Section):
    """A LLaMA or Mistral language model, under the names of transformers' configuration.

    `sliding_window` w lets a position see itself and the w positions before it minus one;
    None means all.  `num_key_value_heads` None means as many as query heads.
    """

    model_type: str
    vocab_size: Size = 32000
    hidden_size: Size = 4096
    intermediate_size: Size = 11008
    num_hidden_layers: Size = 32
    num_attention_heads: Size = 32
    num_key_value_heads: SomeSize = None
    head_dim: SomeSize = None
    max_position_embeddings: Size = 2048
    rms_norm_eps: Number = 1e-6
    rope_theta: Number = 10000.0
    sliding_window: SomeSize = None
    tie_word_embeddings: Switch = False
    bos_token_id: SomeId = 1
    eos_token_id: SomeIds = 2
    pad_token_id: SomeId = None

    _PLACE = "'language'"

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Reads a section of a parsed `config.json`, whose `model_type` is "llama" or "mistral"."""
        kind = given["model_type"]
        for key, only in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
            if given.get(key, only) != only:
                raise cls.error(f"has {key} {given[key]!r}, not {only!r}")
        filled = _DEFAULTS[kind] | dict(given) | cls._rope(given)
        if kind == "llama":
            filled["sliding_window"] = None
        return cls(**{f.name: filled[f.name] for f in fields(cls) if f.name in filled}, extra=given)

    def to_dict(self) -> dict[str, Any]:
        """The section again, what transformers assumes left out where it was left out."""
        out = super().to_dict()
        for key, assumed in _DEFAULTS[self.model_type].items():
            if key not in self.extra and getattr(self, key) == assumed:
                out.pop(key, None)
            elif getattr(self, key) != assumed:
                out[key] = getattr(self, key)
        told = {"rope_theta": self.rope_theta}
        if "rope_theta" not in self.extra and self._rope(self.extra) == told:
            out.pop("rope_theta", None)
        return out

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads and self.head_dim is None:
            raise self.error(
                f"has hidden_size {self.hidden_size}, not a multiple of "
                f"{self.num_attention_heads} heads"
            )
        if self.num_attention_heads % self.kv_heads:
            raise self.error(
                f"has {self.num_attention_heads} heads, not a multiple of "
                f"{self.kv_heads} key-value heads"
            )
        if self.head_width % 2:
            raise self.error(
                f"has heads of width {self.head_width}; rope turns pairs, so it must be even"
            )

    @property
    def kv_heads(self) -> int:
        """G."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """d."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids that end a text, none to several."""
        eos = self.eos_token_id
        return () if eos is None else (eos,) if isinstance(eos, int) else tuple(eos)

    @classmethod
    def _rope(cls, language: Mapping[str, Any]) -> dict[str, Any]:
        """What `rope_parameters`, which is how transformers 5 writes it, says of `rope_theta`.

        UsageError if it, or `rope_scaling` as it was called before, asks for more than a theta.
        """
        told: dict[str, Any] = {}
        for key in ("rope_scaling", "rope_parameters"):
            given = language.get(key) or {}
            if not isinstance(given, Mapping):
                raise cls.error(f"has {key} {given!r}, not an object")
            rope = {k: v for k, v in given.items() if (k, v) not in _PLAIN_ROPE}
            if rope.keys() - {"rope_theta"}:
                raise cls.error(
                    f"has {key} {dict(given)!r}; no scaling of rope is built, only a rope_theta"
                )
            told |= rope
        if told and language.get("rope_theta", told["rope_theta"]) != told["rope_theta"]:
            raise cls.error(
                f"has rope_theta {language['rope_theta']!r} and, in rope_parameters, "
                f"{told['rope_theta']!r}; keep the one that the model was trained with"
            )
        return told


class Llama(nn.Module):
    """Token ids in, final hidden states out; `logits` turns those into scores."""

    position_bias: None = None

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = _RMSNorm(config)
        self.lm_head = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        for table in (self.embed_tokens, self.lm_head):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)

    @property
    def width(self) -> int:
        """M."""
        return self.config.hidden_size

    @property
    def ff_width(self) -> int:
        """Inner width of the gated MLP."""
        return self.config.intermediate_size

    @property
    def vocab_size(self) -> int:
        """Y."""
        return self.config.vocab_size

    @property
    def heads(self) -> int:
        """H."""
        return self.config.num_attention_heads

    @property
    def kv(self) -> KVShape:
        """Grouped-query attention remembers G heads, not H."""
        config = self.config
        return KVShape(config.num_hidden_layers, config.kv_heads, config.head_width)

    @property
    def context_length(self) -> int:
        """Positions that the model was trained for."""
        return self.config.max_position_embeddings

    @property
    def sliding_window(self) -> int | None:
        """Mistral's window."""
        return self.config.sliding_window

    def embed(self, ids_BT: Tensor) -> Tensor:
        """(B, T) -> (B, T, M)."""
        x_BTM: Tensor = self.embed_tokens(ids_BT)
        return x_BTM

    def rotation(self, positions_BT: Tensor, dtype: torch.dtype) -> Rope:
        """The angles of rope there."""
        cos, sin = rotary_angles(positions_BT, self.config.head_width, self.config.rope_theta)
        return cos.to(dtype), sin.to(dtype)

    def logits(self, x_BTM: Tensor) -> Tensor:
        """(..., M) -> (..., Y), float32."""
        head = self.embed_tokens if self.lm_head is None else self.lm_head
        return output_layer(x_BTM, head.weight)


class _Layer(nn.Module):
    """x += attn(norm(x));  x += down(silu(gate(norm(x))) * up(norm(x)))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = _SelfAttention(config)
        self.mlp = _MLP(config)
        self.input_layernorm = _RMSNorm(config)
        self.post_attention_layernorm = _RMSNorm(config)

    def forward(self, x_BTM: Tensor, rope: Rope, attend: Attend) -> Tensor:
        attended = self.self_attn(self.input_layernorm(x_BTM), rope, attend)
        x_BTM = attend.going_on(x_BTM) + attended
        x_BTM = x_BTM + self.mlp(self.post_attention_layernorm(x_BTM))
        return x_BTM


class _SelfAttention(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        M, d = config.hidden_size, config.head_width
        self.head_width = d
        self.heads = [config.num_attention_heads, config.kv_heads]
        self.q_proj = nn.Linear(M, config.num_attention_heads * d, bias=False)
        self.k_proj = nn.Linear(M, config.kv_heads * d, bias=False)
        self.v_proj = nn.Linear(M, config.kv_heads * d, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * d, M, bias=False)
        self.qkv = FusedLinear(self.q_proj, self.k_proj, self.v_proj)

    def forward(self, x_BTM: Tensor, rope: Rope, attend: Attend) -> Tensor:
        H, G = self.heads
        heads_BTNd = self.qkv(x_BTM).view(*x_BTM.shape[:2], H + 2 * G, self.head_width)
        turned_BNTd = rotate(heads_BTNd[:, :, : H + G], rope).transpose(1, 2)
        q_BHTd, k_BGTd = turned_BNTd[:, :H], turned_BNTd[:, H:]
        v_BGTd = heads_BTNd[:, :, H + G :].transpose(1, 2)
        x_BTM = self.o_proj(join_heads(attend(q_BHTd, k_BGTd, v_BGTd)))
        return x_BTM


class _MLP(nn.Module):
    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        M, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(M, inner, bias=False)
        self.up_proj = nn.Linear(M, inner, bias=False)
        self.down_proj = nn.Linear(inner, M, bias=False)

    def forward(self, x_BTM: Tensor) -> Tensor:
        x_BTM = self.down_proj(swiglu(self.gate_proj(x_BTM), self.up_proj(x_BTM)))
        return x_BTM


class _RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, the mean in float32 (Zhang & Sennrich 2019).

    Rounded to x's dtype before the weight comes in, as in the released code.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, x_BTM: Tensor) -> Tensor:
        normed_BTM = F.rms_norm(x_BTM, self.weight.shape, eps=self.eps)
        return self.weight * normed_BTM
