"""What OpenFlamingo's and Otter's checkpoints have in common: a CLIP tower, a resampler, gated
blocks that act on every row and a language model of several kinds.

Knows no names of keys but the language models' own.

Special tokens are the tokenizer's: no file of these families states an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.gated import GatedBlocks, GatedConfig, on_every_row
from infimm_eval.flamingo.layouts.languages import LANGUAGES, Language
from infimm_eval.flamingo.layouts.layout import PAD, Shape, Told
from infimm_eval.flamingo.model import Flamingo, SpecialTokens
from infimm_eval.flamingo.resampler import PerceiverResampler, ResamplerConfig
from infimm_eval.flamingo.section import FromZero, Section, Size, SomeId, SomeSize, Switch
from infimm_eval.flamingo.templates import TEMPLATES, ChatFormats
from infimm_eval.flamingo.tokenizer import END_OF_CHUNK, IMAGE, Tokenizer
from infimm_eval.flamingo.towers.clip import ClipConfig, ClipTower

CHAT = ChatFormats({"plain": TEMPLATES["plain"]}, fixed=("plain",))

HEAD_WIDTH = 64
"""Of the resampler and the gated blocks, which the original codes fix."""


@dataclass(frozen=True)
class Config(Section):
    """The whole model.  A gated block stands before decoder layer i where (i + 1) % n == 0.

    `output_rows` is how many rows of the output table any file holds, where they are fewer than
    the words: the rows of added tokens, which OpenFlamingo does not save for LLaMA.
    `repeats_table`: the file has the one table of a tied model under both names.
    `blind_decoding`: see `Flamingo`.
    """

    text_config: Any
    vision_config: ClipConfig
    cross_attn_every_n_layers: Size
    image_token_id: FromZero
    eoc_token_id: FromZero
    pad_token_id: SomeId = None
    output_rows: SomeSize = None
    repeats_table: Switch = False
    blind_decoding: Switch = False
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    gated: GatedConfig = field(default_factory=GatedConfig)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Self:
        """Reads a parsed `config.json`, or what stands for one.  UsageError if it describes another
        kind of model."""
        for section in ("text_config", "vision_config"):
            if not isinstance(given.get(section), Mapping):
                raise UsageError(f"config.json has no {section!r} section, an object")
        read: dict[str, Any] = {
            "text_config": _read(given["text_config"]),
            "vision_config": ClipConfig.from_dict(given["vision_config"]),
        }
        sizes: dict[str, type[Section]] = {"resampler": ResamplerConfig, "gated": GatedConfig}
        for key, kind in sizes.items():
            if isinstance(given.get(key), Mapping):
                read[key] = kind.from_dict(given[key])
        return super().from_dict({**given, **read})

    def __post_init__(self) -> None:
        super().__post_init__()
        for mark, number in (
            ("<image>", self.image_token_id),
            ("<|endofchunk|>", self.eoc_token_id),
        ):
            if number >= self.words:
                raise UsageError(
                    f"the tokenizer gives {mark} the id {number}, but the embedding table has "
                    f"{self.words} rows; pass the tokenizer that the model was trained with"
                )
        if self.cross_attn_every_n_layers > self.layers:
            raise UsageError(
                f"cross_attn_every_n_layers is {self.cross_attn_every_n_layers} with "
                f"{self.layers} decoder layers"
            )

    @property
    def language(self) -> Language:
        """The kind of its language model."""
        return kind_of(self.text_config.extra["model_type"])

    @property
    def words(self) -> int:
        """Rows of the embedding table."""
        return int(self.text_config.vocab_size)

    @property
    def layers(self) -> int:
        """Of the decoder."""
        config = self.text_config
        return int(getattr(config, "num_hidden_layers", None) or config.n_layers)

    @property
    def gated_layers(self) -> tuple[int, ...]:
        """Indices of the decoder layers that have a gated block before them."""
        n = self.cross_attn_every_n_layers
        return tuple(i for i in range(self.layers) if (i + 1) % n == 0)


def language_of(text: Mapping[str, Any], *, by_name: bool = False) -> str:
    """The `model_type` of a language model's description; `architectures` comes before what the
    file calls it.  As in Otter's code, `by_name` lets "llama" in `_name_or_path` say LLaMA."""
    if by_name and "llama" in str(text.get("_name_or_path", "")).lower():
        return "llama"
    match text.get("architectures"):
        case [str(named), *_] if named in _ARCHITECTURES:
            return _ARCHITECTURES[named]
    return str(text.get("model_type"))


_ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",
    "GPTNeoXForCausalLM": "gpt_neox",
    "MPTForCausalLM": "mpt",
    "MptForCausalLM": "mpt",
    "MosaicGPT": "mosaic_gpt",
}


def _read(text: Mapping[str, Any]) -> Section:
    return kind_of(str(text.get("model_type"))).read(text)


def kind_of(name: str) -> Language:
    """The language model of that `model_type`; UsageError for one that is not built here."""
    if name not in LANGUAGES:
        raise unknown("language model:", name, LANGUAGES)
    return LANGUAGES[name]


def build(config: Config) -> Flamingo:
    """The model that `config` describes, with random weights."""
    tower = ClipTower(config.vision_config)
    resampler = PerceiverResampler(tower.width, config.resampler)
    decoder = config.language.build(config.text_config)
    gates = GatedBlocks(config.gated_layers, decoder.width, tower.width, config.gated, on_every_row)
    tokens = SpecialTokens(
        config.image_token_id,
        config.eoc_token_id,
        (config.eoc_token_id,),
        config.pad_token_id,
        end_is_spelled=config.output_rows is not None and config.eoc_token_id >= config.output_rows,
    )
    return Flamingo(
        tower,
        resampler,
        gates,
        decoder,
        tokens=tokens,
        config=config,
        blind_decoding=config.blind_decoding,
    )


def numbered(folder: Path, marks: tuple[str, ...]) -> dict[str, Any]:
    """The ids of the special tokens, and how many words there are, by a folder's tokenizer."""
    tokenizer = Tokenizer.load(folder, added=marks, pad=PAD)
    return {
        "image_token_id": tokenizer.id(IMAGE),
        "eoc_token_id": tokenizer.id(END_OF_CHUNK),
        "pad_token_id": tokenizer.pad_id,
    }


def with_sizes(
    config: Config, shapes: Mapping[str, Shape], gated: str, layer: str, ff: str, told: Told
) -> Config:
    """Sizes that no file states, from the shapes of the weights by key: those of the resampler's
    layers (`layer` and `ff`, with a number to fill in) and of the first gated block (`gated`)."""
    inner = shapes.get(f"{layer.format(0)}to_q.weight", (0,))[0]
    width = config.vision_config.hidden_size
    if inner:
        heads = told.resampler_heads or max(1, inner // HEAD_WIDTH)
        if inner % heads:
            raise UsageError(
                f"the resampler's inner width is {inner}, which {heads} heads share not"
            )
        depth = 0
        while f"{layer.format(depth)}to_q.weight" in shapes:
            depth += 1
        resampler = ResamplerConfig(
            heads=heads,
            dim_head=inner // heads,
            depth=depth,
            latents=shapes.get("perceiver.latents", (64,))[0],
            ff_mult=max(1, shapes.get(f"{ff.format(0)}1.weight", (4 * width,))[0] // width),
        )
        config = replace(config, resampler=resampler)
    inner = shapes.get(f"{gated}attn.to_q.weight", (0,))[0]
    if inner % HEAD_WIDTH:
        raise UsageError(f"the gated blocks' inner width is {inner}, no multiple of {HEAD_WIDTH}")
    if inner:
        config = replace(config, gated=GatedConfig(heads=inner // HEAD_WIDTH))
    return config
