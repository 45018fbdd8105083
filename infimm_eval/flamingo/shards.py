"""Weight files of a checkpoint folder: which there are, what they hold, their tensors one by one.

Knows nothing of models: keys and shapes are passed on as found.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from infimm_eval.errors import UsageError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_NAMES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
_LFS = b"version https://git-lfs"


def weight_files(folder: Path) -> list[Path]:
    """The folder's weight files.  UsageError if there are none or an index names absent ones."""
    for name in _NAMES:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return [path]
        files = sorted({folder / shard for shard in read_json(path).get("weight_map", {}).values()})
        if absent := [f.name for f in files if not f.is_file()]:
            raise UsageError(f"{path} names {', '.join(absent)}, not in the folder; download again")
        if files:
            return files
        raise UsageError(f"{path} names no weight files; download it again")
    raise UsageError(f"{folder} holds no weights; one of these was expected: {', '.join(_NAMES)}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.  UsageError naming the file if it is something else."""
    _refuse_pointer(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; a checkpoint folder needs it") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}); download it again") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in a weight file, without reading the tensors."""
    _refuse_pointer(path)
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            return {key: tuple(entry["shape"]) for key, entry in _header(path, file)[0].items()}
    return {
        key: tuple(t.shape) for key, t in _unpickle(path, mmap=zipfile.is_zipfile(path)).items()
    }


def tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a weight file, in host memory of its own.

    Safetensors are read one at a time.  A pickle is read whole and released tensor by tensor as
    the caller lets go, so that either way no byte is held twice.
    """
    if path.suffix == ".safetensors":
        yield from _safetensors(path)
        return
    held = _unpickle(path, mmap=False)
    for key in list(held):
        yield key, held.pop(key)


def _safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    # Not through a memory map: mapped pages count as resident beside the copies made of them.
    with path.open("rb") as file:
        entries, start = _header(path, file)
        for key, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            tensor = torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]])
            file.seek(start + entry["data_offsets"][0])
            file.readinto(tensor.flatten().view(torch.uint8).numpy().data)
            yield key, tensor


def _header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The file's table of tensors and where its data begins; UsageError if any of it is cut off.

    Layout: a little-endian u64 N, N bytes of JSON, then the data that the table's offsets count
    from (huggingface/safetensors, format section of its README).
    """
    size = path.stat().st_size
    length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else size
    if 8 + length > size:
        raise UsageError(f"{path} is cut off ({size} bytes, not even its table); download it again")
    try:
        entries = json.loads(file.read(length))
    except ValueError:
        raise UsageError(f"{path} is not a safetensors file; download it again") from None
    entries.pop("__metadata__", None)
    end = 8 + length + max((e["data_offsets"][1] for e in entries.values()), default=0)
    if end > size:
        raise UsageError(f"{path} is cut off ({size} of {end} bytes); download it again")
    for key, entry in entries.items():
        dtype, (first, last) = _DTYPES.get(entry["dtype"]), entry["data_offsets"]
        if dtype is None:
            raise UsageError(f"{path}: {key} is stored as {entry['dtype']}, not a floating type")
        if last - first != math.prod(entry["shape"]) * dtype.itemsize:
            raise UsageError(f"{path}: the size of {key} contradicts its shape; download it again")
    return entries, 8 + length


def _unpickle(path: Path, *, mmap: bool) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (RuntimeError, EOFError, LookupError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0].split(". ")[0][:120] or "it ends at once"
        raise UsageError(
            f"{path} is cut off or not a file of plain weights ({reason}); download it again"
        ) from None
    strange = [k for k, v in held.items() if not isinstance(v, Tensor)] if held else ["nothing"]
    if not isinstance(held, dict) or strange:
        raise UsageError(f"{path} holds something other than tensors: {', '.join(strange[:3])}")
    return held


def _refuse_pointer(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise UsageError(f"{path} is a Git LFS pointer, not the file; run `git lfs pull`")
