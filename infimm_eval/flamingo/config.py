"""What a Flamingo is made of, read from and written to the original `config.json` layout.

Knows nothing of tensors: sizes and switches only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self

from infimm_eval.errors import UsageError, unknown


@dataclass(frozen=True)
class _Section:
    """A part of the JSON file: known keys are fields, `extra` keeps the part as it was read.

    `to_dict` lays the fields over `extra`, so unknown keys and the order of the file survive,
    and a key that the file left out is written only when its value is not the default.
    """

    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False, kw_only=True)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        known = [f for f in fields(cls) if f.name != "extra"]
        if absent := [f.name for f in known if f.name not in given and _required(f)]:
            raise UsageError(f"config.json: {cls._place()} lacks {', '.join(absent)}")
        return cls(**{f.name: given[f.name] for f in known if f.name in given}, extra=dict(given))

    @classmethod
    def _place(cls) -> str:
        return "the top level"

    def to_dict(self) -> dict[str, Any]:
        out = dict(self.extra)
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "extra" and (f.name in out or value != _default(f)):
                out[f.name] = value.to_dict() if isinstance(value, _Section) else value
        return out


def _default(f: Any) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _required(f: Any) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


@dataclass(frozen=True)
class EvaConfig(_Section):
    """An EVA-CLIP vision tower, under the names of the original `visual` section.

    The three published towers: EVA02-L (`rope`, `naiveswiglu`, `subln`), EVA01-g (none of them)
    and EVA02-E (`postnorm`).  `patch_dropout`, `drop_path_rate`, `xattn`, `fusedLN` and
    `eva_model_name` are kept but change no number at inference.
    """

    image_size: int
    layers: int
    width: int
    patch_size: int
    head_width: int = 64
    mlp_ratio: float = 4.0
    rope: bool = False
    pt_hw_seq_len: int = 16
    intp_freq: bool = False
    naiveswiglu: bool = False
    subln: bool = False
    postnorm: bool = False
    qkv_bias: bool = True
    ls_init_value: float | None = None
    global_average_pool: bool = False
    embed_dim: int = 1024

    _IGNORED = frozenset({"patch_dropout", "drop_path_rate", "xattn", "fusedLN", "eva_model_name"})

    @classmethod
    def _place(cls) -> str:
        return "'visual'"

    def __post_init__(self) -> None:
        names = {f.name for f in fields(self)}
        for key in self.extra:
            if key not in names | self._IGNORED:
                raise unknown("key in the 'visual' section of config.json:", key, names)
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


@dataclass(frozen=True)
class DecoderConfig(_Section):
    """A LLaMA or Mistral language model, under the names of transformers' configuration.

    `sliding_window` w lets a position see itself and the w positions before it minus one;
    None means all.  `num_key_value_heads` None means as many as query heads.
    """

    model_type: str
    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    sliding_window: int | None = None
    tie_word_embeddings: bool = False
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    pad_token_id: int | None = None

    @classmethod
    def _place(cls) -> str:
        return "'language'"

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        kind = given.get("model_type")
        if kind is None:
            named = given.get("architectures") or ["none"]
            kind = _ARCHITECTURES.get(named[0], named[0])
        if kind not in _LANGUAGE_DEFAULTS:
            raise unknown("language model in config.json:", str(kind), _LANGUAGE_DEFAULTS)
        for key, only in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)):
            if given.get(key, only) != only:
                raise UsageError(f"config.json: 'language' has {key} {given[key]!r}, not {only!r}")
        if given.get("rope_scaling"):
            raise UsageError("config.json: 'language' asks for rope_scaling, which is not built")
        filled = _LANGUAGE_DEFAULTS[kind] | {"model_type": kind} | dict(given)
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
        return out

    def __post_init__(self) -> None:
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


@dataclass(frozen=True)
class ResamplerConfig(_Section):
    """Not in the original file, whose code fixes these; `latents` is V, tokens per picture."""

    heads: int = 8
    dim_head: int = 64
    depth: int = 6
    latents: int = 64
    ff_mult: int = 4


@dataclass(frozen=True)
class GatedConfig(_Section):
    """Not in the original file, whose code fixes these."""

    heads: int = 8
    dim_head: int = 64
    ff_mult: int = 4


@dataclass(frozen=True)
class FlamingoConfig(_Section):
    """The whole model.  A gated block stands before decoder layer i where (i + 1) % n == 0.

    Tags: every `image_token_id` in the text stands for the next picture of the row;
    `eoc_token_id` ends a chunk and has no meaning for the computation.
    """

    visual: EvaConfig
    language: DecoderConfig
    cross_attn_every_n_layers: int
    image_token_id: int
    eoc_token_id: int
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
        sections: dict[str, type[_Section]] = {
            "visual": EvaConfig,
            "language": DecoderConfig,
            "resampler": ResamplerConfig,
            "gated": GatedConfig,
        }
        read = {k: sections[k].from_dict(v) if k in sections else v for k, v in given.items()}
        return super().from_dict(read)

    def __post_init__(self) -> None:
        if not 1 <= self.cross_attn_every_n_layers <= self.language.num_hidden_layers:
            raise UsageError(
                f"config.json: cross_attn_every_n_layers is {self.cross_attn_every_n_layers} with "
                f"{self.language.num_hidden_layers} decoder layers"
            )

    @property
    def gated_layers(self) -> tuple[int, ...]:
        """Indices of the decoder layers that have a gated block before them."""
        n = self.cross_attn_every_n_layers
        return tuple(i for i in range(self.language.num_hidden_layers) if (i + 1) % n == 0)
