"""The recordings of this repository are small, and are those of the full set."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from tests.golden.parity import cut
from tests.golden.recorded import FAMILY, FULL, PARITY, in_full

MEGABYTE = 10**6


def test_the_recordings_take_four_megabytes_at_most() -> None:
    assert sum(file.stat().st_size for file in files(PARITY).values()) <= 4 * MEGABYTE


def test_those_of_the_other_families_take_eight_at_most() -> None:
    assert sum(file.stat().st_size for file in files(FAMILY).values()) <= 8 * MEGABYTE


@pytest.mark.slow
@pytest.mark.parametrize(("make", "kept"), [(cut.main, PARITY), (cut.families, FAMILY)])
def test_the_recordings_are_cut_from_the_full_ones(
    make: Callable[[Path, Path], None], kept: Path, tmp_path: Path
) -> None:
    in_full("zephyr_tiny")
    make(FULL, tmp_path)
    ours, anew = files(kept), files(tmp_path)
    assert ours.keys() == anew.keys()
    for name, file in ours.items():
        if name.endswith((".bin.xz", ".pt.xz")):
            made = lzma.decompress(anew[name].read_bytes())
            assert lzma.decompress(file.read_bytes()) == made, name
        elif file.suffix == ".xz":
            held, made_now = tensors(file), tensors(anew[name])
            assert held.keys() == made_now.keys(), name
            assert all(same(held[key], made_now[key]) for key in held), name
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
