"""The recordings of this repository are small, and are those of the full set."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from tests.golden.parity import cut
from tests.golden.recorded import FULL, PARITY, in_full

MEGABYTE = 10**6


def test_the_recordings_take_four_megabytes_at_most() -> None:
    assert sum(file.stat().st_size for file in files(PARITY).values()) <= 4 * MEGABYTE


@pytest.mark.slow
def test_the_recordings_are_cut_from_the_full_ones(tmp_path: Path) -> None:
    in_full("zephyr_tiny")
    cut.main(FULL, tmp_path)
    ours, anew = files(PARITY), files(tmp_path)
    assert ours.keys() == anew.keys()
    for name, file in ours.items():
        if file.suffix == ".xz":
            kept, made = tensors(file), tensors(anew[name])
            assert kept.keys() == made.keys(), name
            assert all(same(kept[key], made[key]) for key in kept), name
        else:
            assert file.read_bytes() == anew[name].read_bytes(), name


def files(folder: Path) -> dict[str, Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py")
    return {
        str(path.relative_to(folder)): path for path in found if "__pycache__" not in path.parts
    }


def tensors(file: Path) -> dict[str, torch.Tensor]:
    return load(lzma.decompress(file.read_bytes()))


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit for bit: some recorded numbers are no numbers (nan)."""
    return one.dtype == other.dtype and torch.equal(
        one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)
    )
