"""A CLIP vision tower that lies by itself, in open_clip's or in transformers' files.

Knows nothing of the models that it is for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.files import read_json
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.layouts.layout import Shape, Source
from infimm_eval.flamingo.shards import NAMES, shapes, weight_files
from infimm_eval.flamingo.towers.clip import HEAD_WIDTH, HF_NAMES, HF_SPLIT, ClipConfig

_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_OPEN_CLIPS_CONV, _HFS_CONV = "conv1.weight", "embeddings.patch_embedding.weight"


class ClipFiles(NamedTuple):
    """The tower's description, under transformers' names, and its weights."""

    description: dict[str, Any]
    source: Source


def holds_clip(folder: Path) -> bool:
    """Whether a folder looks like one with a CLIP in it, by names and descriptions."""
    if any((folder / name).is_file() for name in _OPEN_CLIP):
        return True
    return any(_is_clip(described) for described in _descriptions(folder))


def find_clip(place: Path) -> ClipFiles:
    """In a folder, or in one file of weights.  A tower that nothing describes has heads of 64 and
    OpenAI's activation.  UsageError for a place without one."""
    files = (place,) if place.is_file() else _weights(place)
    found = {key: shape for file in files for key, shape in shapes(file).items()}
    convolutions = [k for k in found if k.endswith((_OPEN_CLIPS_CONV, _HFS_CONV))]
    if len(convolutions) != 1:
        raise UsageError(
            f"{place} holds no CLIP vision transformer: no single key that ends in "
            f"{_OPEN_CLIPS_CONV} (open_clip) or {_HFS_CONV} (transformers)"
        )
    keys = _keys(convolutions[0])
    described = [d for d in _descriptions(place if place.is_dir() else place.parent) if _is_clip(d)]
    description = _described(described[0]) if described else _by_shapes(keys, found)
    beside = "the description of the vision tower"
    return ClipFiles(description, Source(tuple(files), keys, of=r"^tower\.", beside=beside))


def under(prefix: str) -> KeyMap:
    """The keys of a tower with open_clip's names behind a prefix."""
    return KeyMap(
        names=((r"^tower\.", prefix),),
        ignored=(rf"^(?!{re.escape(prefix)})", rf"^{re.escape(prefix)}proj$"),
    )


def under_hf(prefix: str) -> KeyMap:
    """The same with transformers' names."""
    return replace(
        under(prefix),
        names=((r"^tower\.", prefix), *HF_NAMES),
        split=HF_SPLIT,
        ignored=(rf"^(?!{re.escape(prefix)})", r"\.position_ids$"),
    )


def _keys(convolution: str) -> KeyMap:
    if convolution.endswith(_HFS_CONV):
        return under_hf(convolution.removesuffix(_HFS_CONV))
    return under(convolution.removesuffix(_OPEN_CLIPS_CONV))


def _weights(folder: Path) -> tuple[Path, ...]:
    names = (*_OPEN_CLIP, *NAMES)
    if folder.is_dir() and not any((folder / name).is_file() for name in names):
        alone = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file())
        if len(alone) == 1:
            return tuple(alone)
    return tuple(weight_files(folder, names))


def _descriptions(folder: Path) -> list[dict[str, Any]]:
    """What the JSON files in a folder say, those that can be read; open_clip's own is wrapped."""
    found = []
    for file in sorted(folder.glob("*.json")):
        if file.name.startswith("tokenizer") or file.stat().st_size > 2**20:
            continue
        try:
            described = read_json(file)
        except UsageError:  # another tool's list; what is needed is missed later
            continue
        inner = described.get("model_cfg")
        found.append(inner if isinstance(inner, dict) else described)
    return found


def _is_clip(described: Mapping[str, Any]) -> bool:
    return "vision_cfg" in described or described.get("model_type") in ("clip", "clip_vision_model")


def _described(given: Mapping[str, Any]) -> dict[str, Any]:
    if "vision_cfg" in given:
        return ClipConfig.from_open_clip(given).to_dict()
    inner = given.get("vision_config", given) if given["model_type"] == "clip" else given
    if not isinstance(inner, Mapping):
        raise UsageError(f"config.json: 'vision_config' is {inner!r}, not an object")
    return dict(inner)


def _by_shapes(keys: KeyMap, found: Mapping[str, Shape]) -> dict[str, Any]:
    def shape(name: str, dimensions: int) -> Shape:
        (key, *_) = keys.keys(f"tower.{name}")
        if len(found.get(key, ())) != dimensions:
            raise UsageError(f"the vision tower's {key} is {found.get(key)}, not {dimensions}-fold")
        return found[key]

    width, _, patch, _ = shape("conv1.weight", 4)
    layers = 0
    while keys.keys(f"tower.transformer.resblocks.{layers}.ln_1.weight")[0] in found:
        layers += 1
    grid = int((shape("positional_embedding", 2)[0] - 1) ** 0.5)
    return {
        "hidden_size": width,
        "intermediate_size": shape("transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "image_size": grid * patch,
        "patch_size": patch,
    }
