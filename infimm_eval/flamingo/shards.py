"""Weight files of a checkpoint folder: which there are, what they hold, their tensors one by one.

Knows nothing of models: keys and shapes are passed on as found.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from mmap import PAGESIZE
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.files import read_json, refuse_pointer

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
_READABLE = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES.values())
NAMES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
# A damaged byte leads torch's reader of pickles astray in all of these ways.
_ASTRAY: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError,
    TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def weight_files(folder: Path, names: Sequence[str] = NAMES) -> list[Path]:
    """The folder's weight files: those of the first of ``names`` that is there.  UsageError if none
    is or an index names absent ones."""
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return [path]
        files = [folder / shard for shard in _shards(path)]
        if absent := [f.name for f in files if not f.is_file()]:
            raise UsageError(f"{path} names {', '.join(absent)}, not in the folder; download again")
        return files
    raise UsageError(f"{folder} holds no weights; one of these was expected: {', '.join(names)}")


def _shards(index: Path) -> list[str]:
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(n, str) for n in named.values()):
        raise UsageError(f"{index} has no weight_map from keys to files; download it again")
    if not named:
        raise UsageError(f"{index} names no weight files; download it again")
    for name in named.values():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise UsageError(f"{index} names {name!r}, a file outside its folder")
    return sorted(set(named.values()))


class Wanted(NamedTuple):
    """What of a weight file is read: keys that are not ``skipped``, in a pickle of a training run
    those of the state dict ``within``."""

    skipped: Callable[[str], bool] = lambda key: False
    within: str | None = None


ALL = Wanted()


def shapes(
    path: Path, wanted: Wanted = ALL, *, any_dtype: bool = False
) -> dict[str, tuple[int, ...]]:
    """Shape of every wanted tensor in a weight file, without reading the tensors.  UsageError for
    a file that is cut off, no weights or, unless ``any_dtype``, holds other numbers than floats."""
    refuse_pointer(path)
    if path.suffix == ".safetensors":
        with path.open("rb") as file:
            entries, _ = _header(path, file, wanted.skipped, any_dtype=any_dtype)
        return {key: entry.shape for key, entry in entries.items()}
    held = _unpickle(path, wanted, mmap=True)
    if not any_dtype:
        _require_dense_floats(path, held)
    return {key: tuple(tensor.shape) for key, tensor in held.items()}


def tensors(
    path: Path, wanted: Wanted = ALL, *, kept: torch.dtype | None = None
) -> Iterator[tuple[list[str], Tensor]]:
    """Every wanted tensor of a weight file with all keys that name it; no byte is held twice.

    Safetensors are read one at a time, and so is a pickle whose numbers the caller keeps as
    another type than they are stored in.  Others are read whole and released tensor by tensor as
    the caller lets go: tensors of the ``kept`` type are then kept as they are.
    """
    if path.suffix == ".safetensors":
        yield from _safetensors(path, wanted.skipped)
        return
    if kept is not None and (places := _places(path, wanted, kept)):
        yield from _one_by_one(path, places)
        return
    held = _unpickle(path, wanted, mmap=False)
    _require_dense_floats(path, held)
    for first, *twins in _twins(held):
        for twin in twins:
            del held[twin]
        yield [first, *twins], held.pop(first)


class _Place(NamedTuple):
    """Where a tensor lies in a file: its first byte, and what a view of the bytes there is."""

    keys: list[str]
    first: int
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]


def _places(path: Path, wanted: Wanted, kept: torch.dtype) -> list[_Place]:
    """Of every tensor in a pickle; empty where they are of the ``kept`` type or it cannot be told.

    Mapped into memory, tensors stand as far apart as their records in the archive, so that one
    address of memory is the file's first byte for all of them.
    """
    records = _records(path)
    if not records:
        return []
    held = _unpickle(path, wanted, mmap=True)
    _require_dense_floats(path, held)
    if all(tensor.dtype == kept for tensor in held.values()):
        return []
    starts = {tensor.untyped_storage().data_ptr() for tensor in held.values() if tensor.nbytes}
    fits = [
        base
        for base in {min(starts, default=0) - record for record in records}
        if base % PAGESIZE == 0 and all(start - base in records for start in starts)
    ]
    if len(fits) != 1:
        return []
    return [
        _Place([first, *twins], t.data_ptr() - fits[0], t.dtype, t.shape, t.stride())
        for first, *twins in _twins(held)
        for t in [held[first]]
    ]


def _records(path: Path) -> set[int]:
    """Where the data of a zip archive's uncompressed records begin."""
    if not zipfile.is_zipfile(path):  # saves of old torch are none
        return set()
    found = set()
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for record in archive.infolist():
                file.seek(record.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                if record.compress_type == zipfile.ZIP_STORED:
                    found.add(record.header_offset + 30 + name + extra)
    except _ASTRAY:  # whoever reads the tensors says what is wrong
        return set()
    return found


def _one_by_one(path: Path, places: list[_Place]) -> Iterator[tuple[list[str], Tensor]]:
    with path.open("rb") as file:
        for keys, first, dtype, shape, stride in places:
            empty = 0 in shape
            last = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
            memory = torch.empty(0 if empty else last + 1, dtype=dtype)
            file.seek(first)
            file.readinto(memory.view(torch.uint8).numpy().data)
            yield keys, memory.as_strided(shape, stride)


def _twins(held: dict[str, Tensor]) -> list[list[str]]:
    """The keys, those together that name one view of one piece of memory."""
    groups = defaultdict(list)
    for key, tensor in held.items():
        groups[tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()].append(key)
    return list(groups.values())


def _safetensors(path: Path, skipped: Callable[[str], bool]) -> Iterator[tuple[list[str], Tensor]]:
    # Not through a memory map: mapped pages count as resident beside the copies made of them.
    with path.open("rb") as file:
        entries, start = _header(path, file, skipped)
        for key, entry in sorted(entries.items(), key=lambda item: item[1].first):
            tensor = torch.empty(entry.shape, dtype=_DTYPES[entry.dtype])
            file.seek(start + entry.first)
            file.readinto(tensor.flatten().view(torch.uint8).numpy().data)
            yield [key], tensor


class _Entry(NamedTuple):
    """A tensor in a safetensors file: its bytes are [first, last) after the table."""

    dtype: str
    shape: tuple[int, ...]
    first: int
    last: int


def _header(
    path: Path, file: BinaryIO, skipped: Callable[[str], bool], *, any_dtype: bool = False
) -> tuple[dict[str, _Entry], int]:
    """The file's table of tensors and where its data begins; UsageError if any of it is cut off.

    Layout: a little-endian u64 N, N bytes of JSON, then the data that the table's offsets count
    from (huggingface/safetensors, format section of its README).
    """
    size = path.stat().st_size
    length = struct.unpack("<Q", file.read(8))[0] if size >= 8 else size
    if 8 + length > size:
        raise UsageError(f"{path} is cut off ({size} bytes, not even its table); download it again")
    try:
        table = json.loads(file.read(length))
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise UsageError(f"{path} is not a safetensors file; download it again")
    table.pop("__metadata__", None)
    entries = {
        key: _entry(path, key, given, any_dtype or skipped(key)) for key, given in table.items()
    }
    end = 8 + length + max((entry.last for entry in entries.values()), default=0)
    if end > size:
        raise UsageError(f"{path} is cut off ({size} of {end} bytes); download it again")
    return {key: entry for key, entry in entries.items() if not skipped(key)}, 8 + length


def _entry(path: Path, key: str, given: Any, any_dtype: bool) -> _Entry:
    match given:
        case {
            "dtype": str(dtype),
            "shape": [*shape],
            "data_offsets": [int(first), int(last)],
        } if first >= 0 and all(type(n) is int and n >= 0 for n in shape):
            if not (any_dtype or dtype in _DTYPES):
                raise UsageError(f"{path}: {key} is stored as {dtype}, not one of {_READABLE}")
            bits = re.search(r"\d+", dtype)  # of a number, which every name but BOOL tells
            size = math.prod(shape) * (int(bits[0]) if bits else 8)
            if 8 * (last - first) == size:
                return _Entry(dtype, tuple(shape), first, last)
            raise UsageError(f"{path}: the size of {key} contradicts its shape; download it again")
    raise UsageError(f"{path}: what it says of {key} is no safetensors entry; download it again")


def _require_dense_floats(path: Path, held: Mapping[str, Tensor]) -> None:
    for key, value in held.items():
        if value.dtype not in _DTYPES.values() or value.layout != torch.strided:
            kind = f"{value.layout} {value.dtype}".replace("torch.", "").removeprefix("strided ")
            raise UsageError(f"{path}: {key} is stored as {kind}, not one of {_READABLE}")


def _unpickle(path: Path, wanted: Wanted, *, mmap: bool) -> dict[str, Tensor]:
    if _is_torchscript(path):
        raise UsageError(
            f"{path} is a TorchScript archive, a program that is not run here; pass the same "
            "weights as a state dict (open_clip_pytorch_model.bin, model.safetensors)"
        )
    try:
        mmap = mmap and zipfile.is_zipfile(path)  # saves of old torch are none
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except _ASTRAY as error:
        reason = str(error).split("\n")[0].split(". ")[0][:120] or "it ends at once"
        raise UsageError(
            f"{path} is cut off or not a file of plain weights ({reason}); download it again"
        ) from None
    if isinstance(held, dict) and isinstance(held.get(wanted.within), dict):
        held = held[wanted.within]
    if not isinstance(held, dict) or not held:
        what = "nothing" if held == {} else f"a {type(held).__name__}"
        raise UsageError(f"{path} holds {what}, not tensors by name; save model.state_dict()")
    for key, value in held.items():
        if isinstance(value, dict):
            raise UsageError(
                f"{path} holds {key!r} and perhaps more of a training run, not tensors by name; "
                "save the state dict in it alone"
            )
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UsageError(f"{path} holds something other than tensors by name: {key!r}")
    return {key: tensor for key, tensor in held.items() if not wanted.skipped(key)}


def _is_torchscript(path: Path) -> bool:
    """Whether it is a zip archive with code in it, as `torch.jit.save` writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
