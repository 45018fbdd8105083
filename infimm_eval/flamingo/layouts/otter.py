"""Otter (Li et al. 2023, arXiv:2305.03726) and OpenFlamingo as Otter's code converts it: one folder
with all weights under transformers' names.

Knows the names in its checkpoints and what the original does with its config.json; nothing of the
computation.

What the original says and does differ in places: `use_media_placement_augmentation` and
`only_attend_previous` are not obeyed there, and not here.  A top-level `tie_word_embeddings` that
is true or absent makes the original replace a LLaMA's output table by its embedding; here an
output table that a file holds is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.fetching import fetch
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.layouts.clip_files import under_hf
from infimm_eval.flamingo.layouts.composed import (
    CHAT,
    Config,
    build,
    kind_of,
    language_of,
    numbered,
    with_sizes,
)
from infimm_eval.flamingo.layouts.layout import Layout, Parts, Shape, Source, Told
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.shards import Wanted, shapes, weight_files

_TOWER = "vision_encoder.vision_model."


def _marks(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Otter's models have a mark before every answer, OpenFlamingo's have none."""
    answer = ("<answer>",) if given.get("model_type") == "otter" else ()
    return ("<|endofchunk|>", "<image>", *answer)


def _claims(given: Mapping[str, Any]) -> bool:
    kind = given.get("model_type")
    return kind == "otter" or (kind == "flamingo" and "text_config" in given)


def _keys(config: Config) -> KeyMap:
    language = config.language
    layers = rf"lang_encoder.{language.body}{language.layers}.\1."
    gated = f"{layers}gated_cross_attn_layer."
    tower = under_hf(_TOWER)
    return KeyMap(
        names=(
            *tower.names,
            (r"^resampler\.layers\.(\d+)\.0\.", r"perceiver.layers.\1."),
            (r"^resampler\.layers\.(\d+)\.1\.", r"perceiver.layers.\1.feed_forward."),
            (r"^resampler\.", "perceiver."),
            (r"^gates\.(\d+)\.ff\.", f"{gated}feed_forward."),
            (r"^gates\.(\d+)\.", gated),
            *language.names("lang_encoder.", "decoder_layer."),
        ),
        split=tower.split,
        aliases=((r"^module\.", ""),),
        ignored=(
            r"\.position_ids$",
            r"\.(attention\.bias|attention\.masked_bias|rotary_emb\.inv_freq)$",
        ),
        tied=language.tied("lang_encoder."),
    )


def _find(folder: Path, given: Mapping[str, Any], told: Told) -> Parts:
    _refuse(given)
    text = given.get("text_config")
    if not isinstance(text, Mapping):
        raise UsageError(f"config.json: 'text_config' is {text!r}, not an object")
    text = {**text, "model_type": language_of(text, by_name=True)}
    language = kind_of(text["model_type"])
    files = tuple(weight_files(folder))
    found = {
        key.removeprefix("module."): shape
        for file in files
        for key, shape in shapes(file, _FLOATS).items()
    }
    if "perceiver.frame_embs" in found:
        raise UsageError(_VIDEO)
    if rows := found.get(f"lang_encoder.{language.key(language.embedding)}"):
        text["vocab_size"] = rows[0]
    if language.output:
        stored = f"lang_encoder.{language.key(language.output)}" in found
        text["tie_word_embeddings"] = not stored and given.get("tie_word_embeddings", True)
    tokenizer = partial(_tokenizer, folder, told, language.tokenizer)
    ids = given if "image_token_id" in given else numbered(tokenizer(), _marks(given))
    blind = told.otter_cache == "original" and text.get("use_cache", True)
    description = {
        **given,
        **{key: ids[key] for key in ("image_token_id", "eoc_token_id", "pad_token_id")},
        "text_config": text,
    }
    if blind:
        description["blind_decoding"] = True
    return Parts(description, (Source(files),), tokenizer, (folder,))


_FLOATS = Wanted(lambda key: key.endswith((".position_ids", ".inv_freq")))
_VIDEO = (
    "the checkpoint has embeddings of frames (max_num_frames): a model of videos, which is not "
    "built here; a model of pictures has none"
)


def _refuse(given: Mapping[str, Any]) -> None:
    if given.get("max_num_frames") is not None:
        raise UsageError(_VIDEO)
    if given.get("lora_config") is not None:
        raise UsageError(
            "config.json has a lora_config: adapters beside the weights, which are not put on "
            "here; merge them into the weights (peft's merge_and_unload) and drop the line"
        )


def _tokenizer(folder: Path, told: Told, usual: str) -> Path:
    """The checkpoint's own, else the caller's, else the one that the original code fetches."""
    own = ("tokenizer.json", "tokenizer.model")
    if told.tokenizer is None:
        for inside in (folder, folder / "tokenizer"):
            if any((inside / name).is_file() for name in own):
                return inside
    place = told.tokenizer or usual
    if (here := Path(place)).is_dir():
        return here
    try:
        return fetch(place, ["tokenizer*", "*.model", "special_tokens_map.json"], weights=False)
    except UsageError as error:
        raise UsageError(
            f"{folder} has no tokenizer, and {place} could not be had; pass one with "
            f"--model-option tokenizer=FOLDER_OR_HUB_ID ({error})"
        ) from error


def _complete(config: Config, found: Mapping[str, Shape], told: Told) -> Config:
    language = config.language
    gated = (
        f"lang_encoder.{language.body}{language.layers}.{config.gated_layers[0]}."
        "gated_cross_attn_layer."
    )
    layer = "perceiver.layers.{}."
    return with_sizes(config, found, gated, layer, f"{layer}feed_forward.", told)


def _pictures(given: Mapping[str, Any]) -> Pictures:
    return Pictures(size=given["vision_config"].get("image_size", 224), rgb_first=True)


LAYOUT = Layout(
    claims=_claims,
    read=Config.from_dict,
    build=build,
    keys=_keys,
    chat=CHAT,
    about="Otter, and OpenFlamingo as Otter's code converts it: a folder of all weights",
    prompt_format="otter",
    takes=frozenset({"resampler_heads", "tokenizer", "otter_cache"}),
    find=_find,
    complete=_complete,
    marks=_marks,
    pictures=_pictures,
)
