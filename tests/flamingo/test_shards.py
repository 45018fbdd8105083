"""Weight files by themselves: what damaged and unlikely ones hold is said, never guessed."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing import reductions
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from infimm_eval.errors import UsageError
from infimm_eval.flamingo import load, save_pretrained
from infimm_eval.flamingo.shards import shapes, tensors, weight_files
from tests.flamingo.small import small
from tests.golden.recorded import in_full

StorageWeakRef: Any = reductions.StorageWeakRef  # torch leaves it without types
GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def safetensors(folder: Path, table: object) -> Path:
    """A file of this table, with eight bytes of data."""
    text = table if isinstance(table, str) else json.dumps(table)
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + bytes(8))
    return path


def pickled(folder: Path, content: object) -> Path:
    path = folder / "pytorch_model.bin"
    torch.save(content, path)
    return path


def test_a_safetensors_file_is_read_as_its_format_says(tmp_path: Path) -> None:
    path = safetensors(tmp_path, {"__metadata__": {"format": "pt"}, "k": GOOD})
    assert shapes(path) == {"k": (2,)}
    [(keys, tensor)] = tensors(path)
    assert keys == ["k"] and tensor.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "is not a safetensors file"),
        ("header", "is not a safetensors file"),
        ("[" * 100_000, "is not a safetensors file"),
        ({"k": []}, "says of k is no safetensors entry"),
        ({"k": None}, "says of k is no safetensors entry"),
        ({"k": {"dtype": "F32", "shape": [2]}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"data_offsets": [0]}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"data_offsets": [-8, 0]}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"data_offsets": "08"}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"shape": 2}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"shape": [-1, -2]}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"shape": ["2"]}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"dtype": ["F32"]}}, "says of k is no safetensors entry"),
        ({"k": GOOD | {"dtype": "F8_E4M3"}}, "k is stored as F8_E4M3, not one of float64, float32"),
        ({"k": GOOD | {"shape": [3]}}, "the size of k contradicts its shape"),
        ({"k": GOOD | {"shape": [4], "data_offsets": [0, 16]}}, "is cut off"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, table: object, message: str) -> None:
    path = safetensors(tmp_path, table)
    with pytest.raises(UsageError, match=rf"model.safetensors.*{message}"):
        shapes(path)


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list, not tensors by name"),
        (torch.zeros(2), "holds a Tensor, not tensors by name"),
        ({}, "holds nothing, not tensors by name"),
        ({0: torch.zeros(2)}, "other than tensors by name: 0"),
        ({"k": torch.zeros(2), "step": 7}, "other than tensors by name: 'step'"),
        ({"epoch": {}, "state_dict": {"k": torch.zeros(2)}}, "holds 'epoch' and perhaps more"),
        ({"module": {"k": torch.zeros(2)}}, "'module'.*save the state dict in it alone"),
        ({"k": torch.zeros(2).to(torch.float8_e4m3fn)}, "stored as float8_e4m3fn, not one of"),
        ({"k": torch.zeros(2, dtype=torch.long)}, "k is stored as int64, not one of float64"),
        ({"k": torch.zeros(2).to_sparse()}, "k is stored as sparse_coo float32, not one of"),
    ],
)
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: object, message: str) -> None:
    path = pickled(tmp_path, content)
    with pytest.raises(UsageError, match=rf"pytorch_model.bin.*{message}"):
        shapes(path)


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_pickle_is_one_line_or_whole(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    state = {f"k{i}": torch.ones(2) for i in range(3)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole, chance, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[chance.randrange(min(len(whole), 700))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            shapes(path)
        except UsageError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "has no weight_map"),
        ({"weight_map": None}, "has no weight_map"),
        ({"weight_map": ["model-1.safetensors"]}, "has no weight_map"),
        ({"weight_map": {"k": 1}}, "has no weight_map"),
        ({"weight_map": {}}, "names no weight files"),
        ({"weight_map": {"k": "absent.safetensors"}}, "names absent.safetensors, not in the fold"),
    ],
)
def test_an_index_that_names_no_files_is_named(tmp_path: Path, index: object, message: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=rf"model.safetensors.index.json {message}"):
        weight_files(tmp_path)


@pytest.mark.sampled
@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
@pytest.mark.parametrize("harm", ["cut off", "Git LFS pointer"])
def test_the_harmed_shard_of_an_index_is_named(tmp_path: Path, suffix: str, harm: str) -> None:
    save_pretrained(small(), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    index: dict[str, str] = {}
    for i in (1, 2):
        part = {k: state[k] for k in list(state)[i - 1 :: 2]}
        name = f"part-{i}.{suffix}"
        index |= dict.fromkeys(part, name)
        save: Any = torch.save if suffix == "bin" else save_file
        save(part, tmp_path / name)
    stem = "pytorch_model.bin" if suffix == "bin" else "model.safetensors"
    (tmp_path / f"{stem}.index.json").write_text(json.dumps({"weight_map": index}))
    second = tmp_path / f"part-2.{suffix}"
    second.write_bytes(
        second.read_bytes()[:-100]
        if harm == "cut off"
        else b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    )
    with pytest.raises(UsageError, match=rf"part-2.{suffix} is (a )?{harm}"):
        load(tmp_path)


def test_keys_of_one_view_come_together_and_its_memory_goes_with_them(tmp_path: Path) -> None:
    a, b = torch.ones(4, 4), torch.zeros(4)
    path = pickled(tmp_path, {"a": a, "b": b, "a too": a, "a turned": a.T, "a's top": a[:2]})
    freed = []
    for keys, tensor in tensors(path):
        memory = StorageWeakRef(tensor.untyped_storage())
        del tensor
        freed.append((keys, bool(memory.expired())))
    assert freed == [
        (["a", "a too"], False),
        (["b"], True),
        (["a turned"], False),
        (["a's top"], True),
    ]


class Live(TorchFunctionMode):
    """The most bytes that the tensors of all operations kept alive at any one time."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, tuple[Any, int]] = {}
        self.peak = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, out)):
            if isinstance(tensor, Tensor) and tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self.storages[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        now = sum(size for alive, size in self.storages.values() if not alive.expired())
        self.peak = max(self.peak, now)
        return out


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_pickle_under_all_names_takes_one_file_or_one_model_of_memory(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    model = small().bfloat16()
    save_pretrained(model, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    layers = "lang_encoder.model.layers."
    twins = {
        k.replace(f"{layers}{i}.{ours}.", f"lang_encoder.{theirs}.{i}."): tensor
        for k, tensor in state.items()
        for i in range(4)
        for ours, theirs in (
            ("decoder_layer", "old_decoder_blocks"),
            ("gated_cross_attn_layer", "gated_cross_attn_layers"),
        )
        if f"{layers}{i}.{ours}." in k
    }
    assert len(twins) > 50
    pickled(tmp_path, twins | state)  # every first name far from its twin
    with Live() as memory:
        loaded = load(tmp_path, dtype=dtype)
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor.to(dtype))
    size = sum(t.nbytes for t in loaded.state_dict().values())
    stored = sum(t.nbytes for t in state.values())
    assert stored <= memory.peak < 1.1 * max(size, stored)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_original_pickle_of_all_names_is_its_safetensors(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    folder = in_full("zephyr_tiny/pytorch_model.bin").parent
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert len(shapes(tmp_path / "pytorch_model.bin")) > len(shapes(folder / "model.safetensors"))
    ours, theirs = (load(place, dtype=dtype).state_dict() for place in (tmp_path, folder))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
