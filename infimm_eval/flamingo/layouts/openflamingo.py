"""OpenFlamingo (Awadalla et al. 2023, arXiv:2308.01390): `checkpoint.pt` with what was trained,
over a language model and a CLIP tower that lie elsewhere.

Knows where the published repositories' parts are; nothing of the computation.

A released file is a flat state dict in float32: resampler, gated blocks and the embedding tables
(of LLaMA the input table alone).  It has no configuration: sizes are read from shapes, the interval
of the gated blocks from their indices, ids from the language model's tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.fetching import fetch
from infimm_eval.flamingo.files import read_json, read_json_if_there, write_json
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.layouts.clip_files import find_clip, holds_clip, under
from infimm_eval.flamingo.layouts.composed import (
    CHAT,
    Config,
    build,
    kind_of,
    language_of,
    numbered,
    with_sizes,
)
from infimm_eval.flamingo.layouts.languages import LANGUAGES, Language
from infimm_eval.flamingo.layouts.layout import Layout, Parts, Shape, Source, Told, stored
from infimm_eval.flamingo.model import Flamingo
from infimm_eval.flamingo.pictures import Pictures
from infimm_eval.flamingo.shards import Wanted, shapes, weight_files

CHECKPOINT = "checkpoint.pt"
EXTRA = "extra.safetensors"
MARKS = ("<|endofchunk|>", "<image>")

CLIP = "openai/clip-vit-large-patch14"
"""OpenAI's ViT-L/14 as a state dict, the tower of every published model."""

PUBLISHED = {
    "OpenFlamingo-3B-vitl-mpt1b": "anas-awadalla/mpt-1b-redpajama-200b",
    "OpenFlamingo-3B-vitl-mpt1b-langinstruct": "anas-awadalla/mpt-1b-redpajama-200b-dolly",
    "OpenFlamingo-4B-vitl-rpj3b": "togethercomputer/RedPajama-INCITE-Base-3B-v1",
    "OpenFlamingo-4B-vitl-rpj3b-langinstruct": "togethercomputer/RedPajama-INCITE-Instruct-3B-v1",
    "OpenFlamingo-9B-vitl-mpt7b": "anas-awadalla/mpt-7b",
    "OpenFlamingo-9B-deprecated": "huggyllama/llama-7b",
}
"""The language model of each published repository.  The last one names none: LLaMA-7B was not
free then."""

_LM_FILES = ["*.json", "tokenizer*", "*.model", "vocab.*", "merges.txt"]

# Buffers of older transformers, and what the whole model's state dict has twice.
_BUFFERS = r"\.(attention\.bias|attention\.masked_bias|rotary_emb\.inv_freq)$"


def published(place: str) -> str | None:
    """The name of the published repository that a folder, a snapshot in the hub's cache or a hub
    id is of."""
    names = re.split(r"[/\\]|--", place)
    return next((name for name in reversed(names) if name in PUBLISHED), None)


def stand_in(folder: Path) -> dict[str, Any] | None:
    """What takes the place of a config.json in a folder that holds a `checkpoint.pt`."""
    return {"model_type": "openflamingo"} if (folder / CHECKPOINT).is_file() else None


def _keys(config: Config) -> KeyMap:
    return _under(config.language)


def _under(language: Language) -> KeyMap:
    """Keys of the whole model's state dict, of which a release is a part."""
    layers = rf"lang_encoder.{language.body}{language.layers}.\1."
    return KeyMap(
        names=(
            (r"^tower\.", "vision_encoder."),
            (r"^resampler\.", "perceiver."),
            (r"^gates\.(\d+)\.", f"{layers}gated_cross_attn_layer."),
            *language.names("lang_encoder.", "decoder_layer."),
        ),
        aliases=(
            (r"^module\.", ""),
            (r"^lang_encoder\.old_decoder_blocks\.(\d+)\.", f"{layers}decoder_layer."),
            (
                r"^lang_encoder\.gated_cross_attn_layers\.(\d+)\.",
                f"{layers}gated_cross_attn_layer.",
            ),
        ),
        ignored=(_BUFFERS, r"^(module\.)?vision_encoder\.proj$"),
        tied=language.tied("lang_encoder."),
    )


def _find(folder: Path, given: Mapping[str, Any], told: Told) -> Parts:
    lm = _language_model(folder, told)
    clip = find_clip(_place(folder, told))
    text = read_json(lm / "config.json")
    text["model_type"] = language_of(text)
    language = kind_of(text["model_type"])
    trained, base = _sources(folder, lm, language, told)
    own = {key: shape for source in trained for key, shape in _shapes(source).items()}
    under_lm = {f"lang_encoder.{key}": shape for key, shape in _shapes(base).items()}

    def tokenizer() -> Path:
        return _local(told.tokenizer, "tokenizer") if told.tokenizer else lm

    ids = given if "image_token_id" in given else numbered(tokenizer(), MARKS)
    embedding = f"lang_encoder.{language.key(language.embedding)}"
    words = own.get(embedding, under_lm.get(embedding, (0,)))[0] or text.get("vocab_size")
    description = {
        **given,
        **{key: ids[key] for key in ("image_token_id", "eoc_token_id", "pad_token_id")},
        "text_config": {**text, "vocab_size": words},
        "vision_config": clip.description,
        "cross_attn_every_n_layers": _interval(given, own, told),
        "repeats_table": language.output is None
        and not own.keys().isdisjoint(language.tied("lang_encoder.")),
        "output_rows": _output_rows(language, text, own, under_lm, int(words or 0)),
    }
    places = dict.fromkeys([folder, *trained[0].files, lm, *clip.source.files])
    return Parts(description, (*trained, base, clip.source), tokenizer, tuple(places))


def _sources(folder: Path, lm: Path, language: Language, told: Told) -> tuple[list[Source], Source]:
    """What was trained, the extra weights first; and the language model."""
    keys = _under(language)
    extra = Path(told.extra_weights) if told.extra_weights else folder / EXTRA
    if told.extra_weights and not extra.is_file():
        raise UsageError(f"extra_weights names {extra}, which is no file")
    files = [extra] if extra.is_file() else []
    trained = [
        Source((file,), keys, within="model_state_dict", beside="the language model")
        for file in [*files, folder / CHECKPOINT]
    ]
    tables = [language.embedding, *([language.output] if language.output else [])]
    cut = "|".join(f"^{re.escape(language.key(table))}$" for table in tables)
    grown = f"^{re.escape(language.key(language.output))}$" if language.output else "(?!)"
    base = Source(
        tuple(weight_files(lm)),
        KeyMap(language.names(), ignored=(_BUFFERS,), tied=language.tied()),
        of=r"^decoder\.",
        cut=cut,
        grown=grown,
    )
    return trained, base


def _shapes(source: Source) -> dict[str, Shape]:
    """By the one spelling of every key."""
    assert source.keys is not None
    wanted = Wanted(source.keys.ignores, source.within)
    return {
        source.keys.spelled(key): shape
        for file in source.files
        for key, shape in shapes(file, wanted).items()
    }


def _interval(given: Mapping[str, Any], found: Mapping[str, Shape], told: Told) -> int:
    """n, by the caller, by our own config.json or by the first gated block, which stands before
    layer n - 1."""
    indices = [
        int(n) for key in found for n in re.findall(r"\.(\d+)\.gated_cross_attn_layer\.", key)
    ]
    if not indices:
        raise UsageError(f"{CHECKPOINT} holds no gated_cross_attn_layer: is it an OpenFlamingo?")
    return told.cross_attn_every_n_layers or given.get(
        "cross_attn_every_n_layers", 1 + min(indices)
    )


def _output_rows(
    language: Language,
    text: Mapping[str, Any],
    own: Mapping[str, Shape],
    base: Mapping[str, Shape],
    words: int,
) -> int | None:
    """How many rows of an output table of its own any file holds; None: all of them."""
    if language.output is None or text.get("tie_word_embeddings"):
        return None
    key = f"lang_encoder.{language.key(language.output)}"
    rows = own.get(key, base.get(key, (words,)))[0]
    return rows if rows < words else None


def _language_model(folder: Path, told: Told) -> Path:
    if told.language_model:
        return _local(told.language_model, "language_model")
    inside = [path for path in _folders(folder) if _is_language_model(path)]
    return _only(inside, folder, "language_model") or _fetched(folder, "language_model")


def _place(folder: Path, told: Told) -> Path:
    """Of the CLIP tower."""
    if told.vision_tower:
        place = Path(told.vision_tower)
        return place if place.is_file() else _local(told.vision_tower, "vision_tower")
    inside = [path for path in _folders(folder) if holds_clip(path)]
    return _only(inside, folder, "vision_tower") or _fetched(folder, "vision_tower")


def _only(inside: list[Path], folder: Path, option: str) -> Path | None:
    if len(inside) > 1:
        raise UsageError(
            f"{folder} holds several ({', '.join(path.name for path in inside)}); say which with "
            f"--model-option {option}=FOLDER"
        )
    return inside[0] if inside else None


def _fetched(folder: Path, option: str) -> Path:
    name = published(str(folder.absolute()))
    if name is None:
        raise UsageError(
            f"{folder} holds {CHECKPOINT} without what it was trained upon; pass --model-option "
            f"{option}=FOLDER_OR_HUB_ID (the published ones are found by name: "
            f"{', '.join(PUBLISHED)})"
        )
    return _local(PUBLISHED[name] if option == "language_model" else CLIP, option)


def _local(place: str, option: str) -> Path:
    if (here := Path(place)).is_dir():
        return here
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        raise UsageError(f"{option}={place} is neither a folder here nor a hub id owner/name")
    return fetch(place, _LM_FILES)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _is_language_model(folder: Path) -> bool:
    return language_of(read_json_if_there(folder / "config.json")) in LANGUAGES


def _complete(config: Config, found: Mapping[str, Shape], told: Told) -> Config:
    language = config.language
    gated = (
        f"lang_encoder.{language.body}{language.layers}.{config.gated_layers[0]}."
        "gated_cross_attn_layer."
    )
    return with_sizes(
        config, found, gated, "perceiver.layers.{}.0.", "perceiver.layers.{}.1.", told
    )


# Every parameter whose name has "embed" in it, and what was trained.
_TRAINED = re.compile(r"^(resampler|gates)\.|^decoder\.(embed|wte)")
_LM, _TOWER = "language_model", "vision_tower"


def _save(model: Flamingo, folder: Path, keys: KeyMap) -> None:
    """`checkpoint.pt` with the keys of a release, and beside it the language model and the tower as
    folders of their own; `config.json` has what else only a tokenizer could tell."""
    from safetensors.torch import save_file

    config: Config = model.config
    state = model.state_dict()
    trained = {name: t for name, t in state.items() if _TRAINED.search(name)}
    released = {k: t.detach().clone() for k, t in stored(trained, keys)}
    if config.repeats_table:
        released |= {again: released[table] for again, table in keys.tied.items()}
    torch.save(released, folder / CHECKPOINT)
    dtype = str(model.dtype).removeprefix("torch.")
    own = ("cross_attn_every_n_layers", "image_token_id", "eoc_token_id", "pad_token_id")
    told = {key: getattr(config, key) for key in own}
    write_json(folder / "config.json", {"model_type": "openflamingo", **told})
    rest = {name: t for name, t in state.items() if name.startswith("decoder.")}
    if config.output_rows is not None and config.language.output:
        name = f"decoder.{config.language.output}"
        rest[name] = rest[name][: config.output_rows]
    (folder / _LM).mkdir(exist_ok=True)
    described = {**config.text_config.to_dict(), "torch_dtype": dtype}
    write_json(folder / _LM / "config.json", described)
    lm = {k: t.detach().contiguous() for k, t in stored(rest, KeyMap(config.language.names()))}
    save_file(lm, folder / _LM / "model.safetensors", metadata={"format": "pt"})
    (folder / _TOWER).mkdir(exist_ok=True)
    eyes = {name: t for name, t in state.items() if name.startswith("tower.")}
    vision = {"model_type": "clip_vision_model", **config.vision_config.to_dict()}
    write_json(folder / _TOWER / "config.json", vision)
    clip = {k: t.detach().contiguous() for k, t in stored(eyes, under("visual."))}
    save_file(clip, folder / _TOWER / "open_clip_model.safetensors", metadata={"format": "pt"})


def _pictures(given: Mapping[str, Any]) -> Pictures:
    return Pictures(size=given["vision_config"].get("image_size", 224))


LAYOUT = Layout(
    claims=lambda config: config.get("model_type") == "openflamingo",
    read=Config.from_dict,
    build=build,
    keys=_keys,
    chat=CHAT,
    about="OpenFlamingo: checkpoint.pt over a language model and a CLIP tower elsewhere",
    prompt_format="openflamingo",
    takes=frozenset(
        {
            *("resampler_heads", "language_model", "vision_tower", "tokenizer"),
            *("cross_attn_every_n_layers", "extra_weights"),
        }
    ),
    find=_find,
    complete=_complete,
    marks=lambda config: MARKS,
    pictures=_pictures,
    save=_save,
)
