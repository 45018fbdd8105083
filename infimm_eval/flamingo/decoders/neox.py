"""GPT-NeoX (Black et al. 2022, arXiv:2204.06745): RedPajama-INCITE, whose layers read one after the
other, and Pythia, whose attention and feed-forward stand side by side.

Knows nothing of pixels, padding, caches or search.

Shapes: B rows, T tokens, M width, H heads, d head width, r how much of it is turned, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.flamingo.attention import join_heads
from infimm_eval.flamingo.kernels import output_layer
from infimm_eval.flamingo.kv_cache import KVShape
from infimm_eval.flamingo.protocols import Attend
from infimm_eval.flamingo.rope import Rope, rotary_angles, rotate
from infimm_eval.flamingo.section import Number, Section, Size, SomeId, SomeIds, Switch

# Where transformers 5 writes, inside `rope_parameters`, what was said beside it before.
_ROPE = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}


@dataclass(frozen=True)
class NeoXConfig(Section):
    """A GPT-NeoX language model, under the names of transformers' configuration.

    `rotary_pct` is the share of a head, from its start, that rope turns.
    """

    model_type: str
    vocab_size: Size = 50432
    hidden_size: Size = 6144
    intermediate_size: Size = 24576
    num_hidden_layers: Size = 44
    num_attention_heads: Size = 64
    max_position_embeddings: Size = 2048
    layer_norm_eps: Number = 1e-5
    rotary_pct: Number = 0.25
    rotary_emb_base: Number = 10000
    use_parallel_residual: Switch = True
    attention_bias: Switch = True
    tie_word_embeddings: Switch = False
    bos_token_id: SomeId = 0
    eos_token_id: SomeIds = 2

    _PLACE = "the GPT-NeoX language model"

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Reads a parsed `config.json`, or the part of one, whose `model_type` is "gpt_neox"."""
        if (act := given.get("hidden_act", "gelu")) != "gelu":
            raise cls.error(f"has hidden_act {act!r}, not 'gelu'")
        filled = dict(given) | cls._rope(given)
        return cls(**{f.name: filled[f.name] for f in fields(cls) if f.name in filled}, extra=given)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads:
            raise self.error(
                f"has hidden_size {self.hidden_size}, not a multiple of "
                f"{self.num_attention_heads} heads"
            )
        if self.rotary_pct > 1 or self.turned % 2 or not self.turned:
            raise self.error(
                f"has rotary_pct {self.rotary_pct} of heads of width {self.head_width}; "
                "rope turns pairs, so that must be an even number from 2 to the width"
            )

    @property
    def head_width(self) -> int:
        """d."""
        return self.hidden_size // self.num_attention_heads

    @property
    def turned(self) -> int:
        """r."""
        return int(self.head_width * self.rotary_pct)

    @classmethod
    def _rope(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What `rope_parameters` says, by the older names; UsageError for a scaling."""
        told: dict[str, Any] = {}
        for key in ("rope_scaling", "rope_parameters"):
            rope = given.get(key) or {}
            if not isinstance(rope, Mapping):
                raise cls.error(f"has {key} {rope!r}, not an object")
            for name, value in rope.items():
                if name in _ROPE:
                    told[_ROPE[name]] = value
                elif name not in ("rope_type", "type") or value != "default":
                    raise cls.error(f"has {key} {dict(rope)!r}; no scaling of rope is built")
        for name, value in told.items():
            if given.get(name, value) != value:
                raise cls.error(
                    f"has {name} {given[name]!r} and, in rope_parameters, {value!r}; keep the "
                    "one that the model was trained with"
                )
        return told


class NeoX(nn.Module):
    """Token ids in, final hidden states out; `logits` turns those into scores."""

    position_bias: None = None
    sliding_window: None = None

    def __init__(self, config: NeoXConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_in = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.embed_out = (
            None
            if config.tie_word_embeddings
            else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        )
        for table in (self.embed_in, self.embed_out):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)

    @property
    def width(self) -> int:
        """M."""
        return self.config.hidden_size

    @property
    def ff_width(self) -> int:
        """Inner width of the MLP."""
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
        """Every head has keys and values of its own."""
        return KVShape(self.config.num_hidden_layers, self.heads, self.config.head_width)

    @property
    def context_length(self) -> int:
        """Positions that the model was trained for."""
        return self.config.max_position_embeddings

    def embed(self, ids_BT: Tensor) -> Tensor:
        """(B, T) -> (B, T, M)."""
        x_BTM: Tensor = self.embed_in(ids_BT)
        return x_BTM

    def rotation(self, positions_BT: Tensor, dtype: torch.dtype) -> Rope:
        """The angles of rope there, of the part of a head that is turned."""
        cos, sin = rotary_angles(positions_BT, self.config.turned, self.config.rotary_emb_base)
        return cos.to(dtype), sin.to(dtype)

    def norm(self, x_BTM: Tensor) -> Tensor:
        """The last layer's output -> the final hidden states, (B, T, M)."""
        x_BTM = self.final_layer_norm(x_BTM)
        return x_BTM

    def logits(self, x_BTM: Tensor) -> Tensor:
        """(..., M) -> (..., Y), float32."""
        head = self.embed_in if self.embed_out is None else self.embed_out
        return output_layer(x_BTM, head.weight)


class _Layer(nn.Module):
    """x += attn(norm(x));  x += mlp(norm(x)).  Side by side: x += attn(norm(x)) + mlp(norm(x))."""

    def __init__(self, config: NeoXConfig) -> None:
        super().__init__()
        self.side_by_side = config.use_parallel_residual
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = _SelfAttention(config)
        self.mlp = _MLP(config)

    def forward(self, x_BTM: Tensor, rope: Rope, attend: Attend) -> Tensor:
        attended = self.attention(self.input_layernorm(x_BTM), rope, attend)
        x_BTM = attend.going_on(x_BTM)
        attended_BTM = x_BTM + attended
        read_BTM = x_BTM if self.side_by_side else attended_BTM
        x_BTM = attended_BTM + self.mlp(self.post_attention_layernorm(read_BTM))
        return x_BTM


class _SelfAttention(nn.Module):
    """The rows of `query_key_value` are interleaved: query, key and value of head 0, then of the
    next."""

    def __init__(self, config: NeoXConfig) -> None:
        super().__init__()
        M, bias = config.hidden_size, config.attention_bias
        self.heads, self.turned = config.num_attention_heads, config.turned
        self.query_key_value = nn.Linear(M, 3 * M, bias=bias)
        self.dense = nn.Linear(M, M, bias=bias)

    def forward(self, x_BTM: Tensor, rope: Rope, attend: Attend) -> Tensor:
        B, T, _ = x_BTM.shape
        qkv_BTH3d = self.query_key_value(x_BTM).view(B, T, self.heads, 3, -1)
        v_BHTd = qkv_BTH3d[:, :, :, 2].transpose(1, 2)
        # Queries and keys in one line of 2 H heads: they are turned together.
        qk_BTNd = qkv_BTH3d[:, :, :, :2].flatten(2, 3)
        turned_BTNr = rotate(qk_BTNd[..., : self.turned], rope)
        if self.turned < qk_BTNd.shape[-1]:
            turned_BTNr = torch.cat([turned_BTNr, qk_BTNd[..., self.turned :]], dim=-1)
        q_BHTd, k_BHTd = turned_BTNr.view(B, T, self.heads, 2, -1).transpose(1, 2).unbind(3)
        x_BTM = self.dense(join_heads(attend(q_BHTd, k_BHTd, v_BHTd)))
        return x_BTM


class _MLP(nn.Module):
    def __init__(self, config: NeoXConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x_BTM: Tensor) -> Tensor:
        x_BTM = self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x_BTM)))
        return x_BTM
