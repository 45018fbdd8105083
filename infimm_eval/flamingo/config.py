"""What a Flamingo is made of, read from and written to the original `config.json` layout.

Knows nothing of tensors: sizes and switches only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.section import (
    FromZero,
    Number,
    Section,
    Size,
    SomeId,
    SomeIds,
    SomeSize,
    Switch,
)


@dataclass(frozen=True)
class EvaConfig(Section):
    """An EVA-CLIP vision tower, under the names of the original `visual` section.

    The three published towers: EVA02-L (`rope`, `naiveswiglu`, `subln`), EVA01-g (none of them)
    and EVA02-E (`postnorm`).  `patch_dropout`, `drop_path_rate`, `xattn`, `fusedLN` and
    `eva_model_name` are kept but change no number at inference.
    """

    image_size: Size
    layers: Size
    width: Size
    patch_size: Size
    head_width: Size = 64
    mlp_ratio: Number = 4.0
    rope: Switch = False
    pt_hw_seq_len: Size = 16
    intp_freq: Switch = False
    naiveswiglu: Switch = False
    subln: Switch = False
    postnorm: Switch = False
    qkv_bias: Switch = True
    ls_init_value: float | None = None
    global_average_pool: Switch = False
    embed_dim: FromZero = 1024

    _PLACE = "'visual'"
    _IGNORED = frozenset({"patch_dropout", "drop_path_rate", "xattn", "fusedLN", "eva_model_name"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.head_width or self.image_size % self.patch_size:
            raise UsageError(
                "config.json: 'visual' needs width divisible by head_width and image_size by "
                f"patch_size, not {self.width}/{self.head_width}, "
                f"{self.image_size}/{self.patch_size}"
            )
        if self.rope and not self.intp_freq and self.grid != self.pt_hw_seq_len:
            raise UsageError(
                f"config.json: 'visual' has rope for a grid of {self.pt_hw_seq_len} and pictures "
                f"of {self.grid} patches a side; set intp_freq"
            )
        if self.rope and self.head_width % 4:
            raise UsageError(
                f"config.json: 'visual' has rope and head_width {self.head_width}, not a multiple "
                "of 4: pairs that turn with the row and as many that turn with the column"
            )
        if self.ls_init_value or self.global_average_pool or not self.qkv_bias:
            raise UsageError(
                "config.json: 'visual' asks for layer scale, average pooling or attention without "
                "biases; no published tower has them and this code does not either"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def heads(self) -> int:
        return self.width // self.head_width

    @property
    def hidden(self) -> int:
        """Inner width of the MLP."""
        return int(self.width * self.mlp_ratio)


# What transformers 4.35 assumes for a key that the `language` section leaves out.
_LANGUAGE_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 11008, "max_position_embeddings": 2048},
    "mistral": {
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
}
_ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral"}
_PLAIN_ROPE = (("rope_type", "default"), ("type", "default"))


@dataclass(frozen=True)
class DecoderConfig(Section):
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
        kind = given.get("model_type")
        if kind is None:
            match given.get("architectures"):
                case [str(named), *_]:
                    kind = _ARCHITECTURES.get(named, named)
        kind = str(kind)
        if kind not in _LANGUAGE_DEFAULTS:
            raise unknown("language model in config.json:", kind, _LANGUAGE_DEFAULTS)
        for key, only in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
            if given.get(key, only) != only:
                raise UsageError(f"config.json: 'language' has {key} {given[key]!r}, not {only!r}")
        filled = _LANGUAGE_DEFAULTS[kind] | dict(given) | _rope(given) | {"model_type": kind}
        if kind == "llama":
            filled["sliding_window"] = None
        return cls(**{f.name: filled[f.name] for f in fields(cls) if f.name in filled}, extra=given)

    def to_dict(self) -> dict[str, Any]:
        out = super().to_dict()
        for key, assumed in _LANGUAGE_DEFAULTS[self.model_type].items():
            if key not in self.extra and getattr(self, key) == assumed:
                out.pop(key, None)
            elif getattr(self, key) != assumed:
                out[key] = getattr(self, key)
        if "rope_theta" not in self.extra and _rope(self.extra) == {"rope_theta": self.rope_theta}:
            out.pop("rope_theta", None)
        return out

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.num_attention_heads and self.head_dim is None:
            raise UsageError(
                f"config.json: 'language' has hidden_size {self.hidden_size}, not a multiple of "
                f"{self.num_attention_heads} heads"
            )
        if self.num_attention_heads % self.kv_heads:
            raise UsageError(
                f"config.json: 'language' has {self.num_attention_heads} heads, not a multiple of "
                f"{self.kv_heads} key-value heads"
            )
        if self.head_width % 2:
            raise UsageError(
                f"config.json: 'language' has heads of width {self.head_width}; rope turns pairs, "
                "so it must be even"
            )

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def eos_ids(self) -> tuple[int, ...]:
        eos = self.eos_token_id
        return () if eos is None else (eos,) if isinstance(eos, int) else tuple(eos)


def _rope(language: Mapping[str, Any]) -> dict[str, Any]:
    """What `rope_parameters`, which is how transformers 5 writes it, says of `rope_theta`.

    UsageError if it, or `rope_scaling` as it was called before, asks for more than a theta.
    """
    told: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        given = language.get(key) or {}
        if not isinstance(given, Mapping):
            raise UsageError(f"config.json: 'language' has {key} {given!r}, not an object")
        rope = {k: v for k, v in given.items() if (k, v) not in _PLAIN_ROPE}
        if rope.keys() - {"rope_theta"}:
            raise UsageError(
                f"config.json: 'language' has {key} {dict(given)!r}; no scaling of rope is built, "
                "only a rope_theta"
            )
        told |= rope
    if told and language.get("rope_theta", told["rope_theta"]) != told["rope_theta"]:
        raise UsageError(
            f"config.json: 'language' has rope_theta {language['rope_theta']!r} and, in "
            f"rope_parameters, {told['rope_theta']!r}; keep the one that the model was trained with"
        )
    return told


@dataclass(frozen=True)
class ResamplerConfig(Section):
    """Not in the original file, whose code fixes these; `latents` is V, tokens per picture."""

    heads: Size = 8
    dim_head: Size = 64
    depth: Size = 6
    latents: Size = 64
    ff_mult: Size = 4

    _PLACE = "'resampler'"
    _IGNORED = frozenset()


@dataclass(frozen=True)
class GatedConfig(Section):
    """Not in the original file, whose code fixes these."""

    heads: Size = 8
    dim_head: Size = 64
    ff_mult: Size = 4

    _PLACE = "'gated'"
    _IGNORED = frozenset()


@dataclass(frozen=True)
class FlamingoConfig(Section):
    """The whole model.  A gated block stands before decoder layer i where (i + 1) % n == 0.

    Tags: every `image_token_id` in the text stands for the next picture of the row;
    `eoc_token_id` ends a chunk and has no meaning for the computation.
    """

    visual: EvaConfig
    language: DecoderConfig
    cross_attn_every_n_layers: Size
    image_token_id: FromZero
    eoc_token_id: FromZero
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    gated: GatedConfig = field(default_factory=GatedConfig)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Reads a parsed `config.json`.  UsageError if it describes another kind of model."""
        for section in ("visual", "language"):
            if not isinstance(given.get(section), Mapping):
                raise UsageError(
                    f"config.json describes a {given.get('model_type', 'nameless')!r} model "
                    f"without a {section!r} section; an InfiMM checkpoint has 'visual' and "
                    "'language'"
                )
        sections: dict[str, type[Section]] = {
            "visual": EvaConfig,
            "language": DecoderConfig,
            "resampler": ResamplerConfig,
            "gated": GatedConfig,
        }
        for section in sections:
            if not isinstance(given.get(section, {}), Mapping):
                raise UsageError(f"config.json: {section!r} is {given[section]!r}, not an object")
        read = {k: sections[k].from_dict(v) if k in sections else v for k, v in given.items()}
        return super().from_dict(read)

    def __post_init__(self) -> None:
        super().__post_init__()
        words = self.language.vocab_size
        for key, mark in (("image_", self.image_token_id), ("eoc_", self.eoc_token_id)):
            if mark >= words:
                raise UsageError(
                    f"config.json: {key}token_id is {mark}, but 'language' has vocab_size {words}: "
                    f"ids from 0 to {words - 1}"
                )
        if self.cross_attn_every_n_layers > self.language.num_hidden_layers:
            raise UsageError(
                f"config.json: cross_attn_every_n_layers is {self.cross_attn_every_n_layers} with "
                f"{self.language.num_hidden_layers} decoder layers"
            )

    @property
    def gated_layers(self) -> tuple[int, ...]:
        """Indices of the decoder layers that have a gated block before them."""
        n = self.cross_attn_every_n_layers
        return tuple(i for i in range(self.language.num_hidden_layers) if (i + 1) % n == 0)
