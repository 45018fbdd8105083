"""Cut the full recordings (../shared/parity) to what the tests of this repository read.

Knows file formats, and nothing of how the recordings were made or of what they are compared with.
Run from the root of the checkout, beside the full recordings::

    python -m tests.golden.parity.cut ../shared/parity
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

HERE = Path(__file__).parent
UNREAD = ("quirk_image_in_decode.", ".scores")
BLOCKS = 2  # of a tower's three, each of whose outputs was recorded
_IDS = ("input_ids", "nodup_input_ids", "n_image_tokens")
PROMPT_FIELDS = ("name", "prompts", "image_paths", *_IDS)
PICTURE_FIELDS = ("f32_sha256", "mean", "std")
LEFT_OUT = ("landscape", "portrait", "odd", "large", "square_224")  # plain pictures


def main(full: Path, target: Path = HERE) -> None:
    """Write everything that lies beside this file anew."""
    checkpoint(full / "zephyr_tiny", target / "zephyr_tiny")
    perceiver(full / "resampler_16x", target / "perceiver_16x")
    for style in "gE":
        tower(full / "vit_towers" / style, target / f"tower_{style}")
    processor(full / "processor", target / "processor")


FAMILIES = (
    "openflamingo_llama_tiny",
    "openflamingo_neox_tiny",
    "openflamingo_mpt1b_tiny",
    "otter_llama_tiny",
)
"""Those with MPT-7B would take twice the room; its decoder is held against transformers'."""
_FAMILY_UNREAD = (
    "scores.",
    ".scores",
    "quirk_",
    "hidden_states",
    "xattn",
    "rank.cached",
    "rightpad.logits",
)
_FAMILY_LISTS = ("info.json", "keys.json", "special_tokens_map.json")


def families(full: Path, target: Path) -> None:
    """OpenFlamingo's and Otter's whole models, in the files that their own codes read."""
    for name in FAMILIES:
        family(full / name, target / name)
    described = read_json(full / "clip_processor" / "images.json")["images"]
    digests = {
        name: {f: one.get("f32_sha256") for f, one in told.items() if isinstance(one, dict)}
        for name, told in described.items()
    }
    write_json(target / "clip_processor.json", digests)


def family(source: Path, target: Path) -> None:
    """The arrays that are compared; weights as they were saved."""
    recorded = arrays(source / "golden.npz")
    kept = {k: v for k, v in recorded.items() if not any(u in k for u in _FAMILY_UNREAD)}
    write(target / "golden.safetensors.xz", kept)
    for file in (path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in (".bin", ".pt"):
            place.with_name(f"{file.name}.xz").write_bytes(pack(file.read_bytes(), bits=1))
        elif file.suffix in (".json", ".safetensors") and file.name not in _FAMILY_LISTS:
            shutil.copyfile(file, place)
    keys = read_json(source / "keys.json")
    known = {
        part: list(keys[part]) for part in ("checkpoint.pt", "pytorch_model.bin") if part in keys
    }
    write_json(target / "keys.json", known)


def checkpoint(source: Path, target: Path) -> None:
    """A whole model; of the recorded arrays those that are compared, with zeros at padding."""
    recorded = arrays(source / "golden.npz")
    kept = {key: value for key, value in recorded.items() if not any(u in key for u in UNREAD)}
    for key, value in kept.items():
        batch, _, name = key.partition(".")
        if name.startswith(("logits", "hidden_states", "xattn")) and batch != "cached_steps":
            value[recorded[f"{batch}.attention_mask"] == 0] = 0
    write(target / "golden.safetensors.xz", kept)
    write(target / "model.safetensors.xz", load_file(source / "model.safetensors"))
    write_json(target / "config.json", read_json(source / "config.json"))
    keys = read_json(source / "keys.json")["state_dict_keys"]
    write_json(target / "keys.json", {"state_dict_keys": list(keys)})


def perceiver(source: Path, target: Path) -> None:
    """The resampler alone: what it was given of two pictures, its weights, what it gave."""
    recorded = arrays(source / "golden.npz")
    shown = recorded["mixed.pixel_values"].any(axis=(2, 3, 4, 5))
    names = ("vision_features", "perceiver")
    write(
        target / "golden.safetensors.xz",
        {name: recorded[f"mixed.{name}"][shown][:2] for name in names},
    )
    weights = load_file(source / "model.safetensors")
    own = {key: tensor for key, tensor in weights.items() if key.startswith("model.perceiver.")}
    write(target / "model.safetensors.xz", own)


def tower(source: Path, target: Path) -> None:
    """The first blocks of a vision tower alone, on one picture.

    The weights are numbers of bfloat16, though they were stored in float32.
    """
    recorded = arrays(source / "golden.npz")
    golden = {
        "pixel_values": recorded["pixel_values"][:1],
        "features": recorded["layers"][BLOCKS - 1, :1],
    }
    write(target / "golden.safetensors.xz", golden)
    weights = {
        key: exactly(tensor, torch.bfloat16)
        for key, tensor in load_file(source / "model.safetensors").items()
        if f".blocks.{BLOCKS}." not in key
    }
    write(target / "model.safetensors.xz", weights)
    write_json(target / "visual.json", read_json(source / "visual.json") | {"layers": BLOCKS})


def processor(source: Path, target: Path) -> None:
    """Conversations with their ids, the tensors' digests of all pictures, most pictures."""
    prompts = read_json(source / "prompts.json")
    cases = [only(case, PROMPT_FIELDS) for case in prompts["cases"] if "input_ids" in case]
    told = {"cases": cases, "batch": prompts["batch"], "decode": prompts["decode"]}
    write_json(target / "prompts.json", told)
    images = read_json(source / "images.json")["images"]
    described = {name: only(fields, PICTURE_FIELDS) for name, fields in images.items()}
    write_json(target / "images.json", {"images": described})
    (target / "images").mkdir(parents=True, exist_ok=True)
    for name in described:
        if not name.startswith(LEFT_OUT):
            shutil.copyfile(source / "images" / name, target / "images" / name)


def exactly(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers in a smaller type; ValueError where they are not the same."""
    smaller = tensor.to(dtype)
    if not torch.equal(smaller.to(tensor.dtype), tensor):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is not exactly {dtype}")
    return smaller


def only(case: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """A case without the fields that no test reads."""
    return {field: case[field] for field in fields if field in case}


def arrays(path: Path) -> dict[str, Any]:
    """A file of recorded arrays, all of it in memory."""
    with np.load(path) as file:
        return dict(file)


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """JSON without spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")


def write(path: Path, values: dict[str, Any]) -> None:
    """Numbers behind a filter that tells a number's high bytes from its low ones."""
    tensors = {key: torch.as_tensor(value).contiguous() for key, value in values.items()}
    bits = 1 if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()) else 2
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(save(tensors), bits))


def pack(content: bytes, bits: int) -> bytes:
    """Compressed, numbers of 2^bits bytes."""
    how = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}
    return lzma.compress(content, filters=[how | {"lc": 2, "lp": bits, "pb": bits}])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    families(Path(sys.argv[1]), HERE.parent / "flamingo_family")
