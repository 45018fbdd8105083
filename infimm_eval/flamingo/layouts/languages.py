"""The language models that OpenFlamingo and Otter are built on: how each is read and built, and
what its own checkpoints call its parameters.

Knows nothing of towers, gates or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infimm_eval.flamingo.decoders.llama import Llama, LlamaConfig
from infimm_eval.flamingo.decoders.mpt import MosaicGpt, MosaicGptConfig, Mpt, MptConfig
from infimm_eval.flamingo.decoders.neox import NeoX, NeoXConfig
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.protocols import Decoder
from infimm_eval.flamingo.section import Section


@dataclass(frozen=True)
class Language:
    """One kind of language model.

    In its checkpoints `body` stands before its parameters, `beside` the start of those that it
    does not stand before.  `layers` is the list of its layers there, with `body`.  `embedding` and
    `output` are its tables by parameter name; `output` None: they are one table always, which
    transformers' files may hold a second time as `lm_head.weight`.
    """

    read: Callable[[Mapping[str, Any]], Section]
    build: Callable[[Any], Decoder]
    body: str
    layers: str
    embedding: str
    output: str | None
    tokenizer: str
    """The hub id that Otter's code takes the tokenizer from."""
    beside: str = "(?!)"

    def names(self, before: str = "", inside: str = "") -> tuple[tuple[str, str], ...]:
        """For a `KeyMap`: the decoder's parameters under the language model's own keys, with
        `before` in front and `inside` behind the number of a layer."""
        layers = rf"{before}{self.body}{self.layers}.\1.{inside}"
        return (
            (rf"^decoder\.{self.layers}\.(\d+)\.", layers),
            (rf"^decoder\.(?={self.beside})", before),
            (r"^decoder\.", f"{before}{self.body}"),
        )

    def key(self, table: str) -> str:
        """The key of one of its tables in its own checkpoints."""
        (key,) = KeyMap(self.names()).keys(f"decoder.{table}")
        return key

    def tied(self, before: str = "") -> dict[str, str]:
        """For a `KeyMap`: the key of the output table, and the embedding's that it repeats in
        models which have one table."""
        output = self.key(self.output) if self.output else "lm_head.weight"
        return {f"{before}{output}": f"{before}{self.key(self.embedding)}"}


LANGUAGES: dict[str, Language] = {
    "llama": Language(
        read=LlamaConfig.from_dict,
        build=Llama,
        body="model.",
        layers="layers",
        embedding="embed_tokens.weight",
        output="lm_head.weight",
        beside="lm_head",
        tokenizer="luodian/llama-7b-hf",
    ),
    "gpt_neox": Language(
        read=NeoXConfig.from_dict,
        build=NeoX,
        body="gpt_neox.",
        layers="layers",
        embedding="embed_in.weight",
        output="embed_out.weight",
        beside="embed_out",
        tokenizer="EleutherAI/gpt-neox-20b",
    ),
    "mpt": Language(
        read=MptConfig.from_dict,
        build=Mpt,
        body="transformer.",
        layers="blocks",
        embedding="wte.weight",
        output=None,
        tokenizer="mosaicml/mpt-7b-instruct",
    ),
    "mosaic_gpt": Language(
        read=MosaicGptConfig.from_dict,
        build=MosaicGpt,
        body="transformer.",
        layers="blocks",
        embedding="wte.weight",
        output=None,
        tokenizer="EleutherAI/gpt-neox-20b",
    ),
}
"""By `model_type`."""
