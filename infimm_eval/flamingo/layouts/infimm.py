"""InfiMM (Liu et al. 2024): an EVA-CLIP tower, a resampler and gated blocks in a LLaMA or Mistral.

Knows the names in its checkpoints, nothing of files or of the computation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

from torch import Tensor

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.decoders.llama import Llama, LlamaConfig
from infimm_eval.flamingo.gated import GatedBlocks, GatedConfig, on_tagged_rows
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.layouts.layout import Layout, Shape, Told
from infimm_eval.flamingo.model import Flamingo, SpecialTokens
from infimm_eval.flamingo.resampler import PerceiverResampler, ResamplerConfig
from infimm_eval.flamingo.section import FromZero, Section, Size
from infimm_eval.flamingo.templates import TEMPLATES, ChatFormats
from infimm_eval.flamingo.towers.eva import EvaConfig, EvaTower, rotary_tables


class _Decoder(NamedTuple):
    """A language model under its `model_type`: how its section is read, and what is built."""

    read: Callable[[Mapping[str, Any]], LlamaConfig]
    build: Callable[[LlamaConfig], Llama]


DECODERS = {
    "llama": _Decoder(LlamaConfig.from_dict, Llama),
    "mistral": _Decoder(LlamaConfig.from_dict, Llama),
}
_ARCHITECTURES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral"}


def _language(given: Mapping[str, Any]) -> LlamaConfig:
    kind = given.get("model_type")
    if kind is None:
        match given.get("architectures"):
            case [str(named), *_]:
                kind = _ARCHITECTURES.get(named, named)
    if (decoder := DECODERS.get(str(kind))) is None:
        raise unknown("language model in config.json:", str(kind), DECODERS)
    return decoder.read({**given, "model_type": kind})


SECTIONS: dict[str, Callable[[Mapping[str, Any]], Section]] = {
    "visual": EvaConfig.from_dict,
    "language": _language,
    "resampler": ResamplerConfig.from_dict,
    "gated": GatedConfig.from_dict,
}
"""The sections of config.json; the last two are not in the original file, whose code fixes them."""


@dataclass(frozen=True)
class Config(Section):
    """The whole model.  A gated block stands before decoder layer i where (i + 1) % n == 0.

    Tags: every `image_token_id` in the text stands for the next picture of the row;
    `eoc_token_id` ends a chunk and has no meaning for the computation.
    """

    visual: EvaConfig
    language: LlamaConfig
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
        for section in SECTIONS:
            if not isinstance(given.get(section, {}), Mapping):
                raise UsageError(f"config.json: {section!r} is {given[section]!r}, not an object")
        read = {key: SECTIONS[key](v) if key in SECTIONS else v for key, v in given.items()}
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


def build(config: Config) -> Flamingo:
    """The model that `config` describes, with random weights."""
    language = config.language
    tower = EvaTower(config.visual)
    resampler = PerceiverResampler(tower.width, config.resampler)
    decoder = DECODERS[language.model_type].build(language)
    gates = GatedBlocks(
        config.gated_layers, decoder.width, tower.width, config.gated, on_tagged_rows
    )
    tokens = SpecialTokens(
        config.image_token_id, config.eoc_token_id, language.eos_ids, language.pad_token_id
    )
    return Flamingo(tower, resampler, gates, decoder, tokens=tokens, config=config)


_DECODER = r"model.lang_encoder.model.layers.\1.decoder_layer."
_GATED = r"model.lang_encoder.model.layers.\1.gated_cross_attn_layer."
_EMBEDDING = "model.lang_encoder.model.embed_tokens.weight"
_HEAD = "model.lang_encoder.lm_head.weight"

KEYS = KeyMap(
    names=(
        (r"^tower\.", "model.vision_encoder."),
        (r"^resampler\.", "model.perceiver."),
        (r"^gates\.(\d+)\.", _GATED),
        (r"^decoder\.layers\.(\d+)\.", _DECODER),
        (r"^decoder\.lm_head\.", "model.lang_encoder.lm_head."),
        (r"^decoder\.", "model.lang_encoder.model."),
    ),
    # What the original registers twice, or in every block.
    aliases=(
        (r"^(?!model\.)", "model."),
        (r"^model\.lang_encoder\.old_decoder_blocks\.(\d+)\.", _DECODER),
        (r"^model\.lang_encoder\.gated_cross_attn_layers\.(\d+)\.", _GATED),
        (r"^model\.vision_encoder\.blocks\.\d+\.attn\.rope\.", "model.vision_encoder.rope."),
    ),
    ignored=(r"\.rotary_emb\.inv_freq$",),  # older saves hold it; it is recomputed
    tied={_HEAD: _EMBEDDING},
)

_RESAMPLER_Q = "model.perceiver.layers.0.0.to_q.weight"
_GATED_Q = "model.lang_encoder.model.layers.{}.gated_cross_attn_layer.attn.to_q.weight"
# The original's default and the model card's figure; the head count itself is not in the weights.
_HEADS_OF_INNER_WIDTH = {512: 8, 1536: 16}


def _with_heads(config: Config, shapes: Mapping[str, Shape], told: Told) -> Config:
    """Attention widths, which the original's config does not state, from the weights' shapes."""
    resampler_heads = told.resampler_heads
    inner = shapes.get(_RESAMPLER_Q, (0,))[0]
    if inner and (resampler_heads or "resampler" not in config.extra):
        heads = resampler_heads or _HEADS_OF_INNER_WIDTH.get(inner)
        if heads is None or inner % heads:
            raise UsageError(
                f"the resampler's inner width is {inner}, which {heads or 'no known number of'} "
                "heads share; pass resampler_heads"
            )
        resampler = replace(config.resampler, heads=heads, dim_head=inner // heads)
        config = replace(config, resampler=resampler)
    inner = shapes.get(_GATED_Q.format(config.gated_layers[0]), (0,))[0]
    expected = config.gated.heads * config.gated.dim_head
    if inner and "gated" not in config.extra and inner != expected:
        raise UsageError(
            f"the gated blocks' inner width is {inner}, not 8 heads of 64; say so in config.json: "
            '"gated": {"heads": ..., "dim_head": ...}'
        )
    return config


def _rope_tables(config: Config) -> dict[str, Tensor]:
    """Stored tables are used as stored (a bf16 save rounded them, which shows in the features)."""
    if not config.visual.rope:
        return {}
    cos, sin = rotary_tables(config.visual)
    return {"tower.rope.freqs_cos": cos, "tower.rope.freqs_sin": sin}


def _claims(config: Mapping[str, Any]) -> bool:
    named = str(config.get("model_type", "")).startswith("infimm")
    return named or config.keys() >= {"visual", "language"}


LAYOUT = Layout(
    claims=_claims,
    read=Config.from_dict,
    build=build,
    keys=KEYS,
    chat=ChatFormats(
        TEMPLATES,
        of_model_type=(("zephyr", "zephyr"), ("vicuna", "vicuna"), ("llama", "llama2")),
        fixed=("zephyr",),
    ),
    about="InfiMM: a folder of all weights, EVA-CLIP with LLaMA or Mistral",
    prompt_format="infimm",
    complete=_with_heads,
    computed=_rope_tables,
)
