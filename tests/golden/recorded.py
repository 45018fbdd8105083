"""Where recordings lie: cut down in this repository, in full in ../shared beside the checkout.

Knows how they are packed, and nothing of what is compared with them.
"""

from __future__ import annotations

import atexit
import lzma
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

PARITY = Path(__file__).parent / "parity"
FAMILY = Path(__file__).parent / "flamingo_family"
FULL = Path(__file__).resolve().parents[2].parent / "shared" / "parity"


@cache
def recorded(name: str) -> Path:
    """A folder as the original code would have it: ours unpacked, else the full one, or a skip."""
    packed = next((p / name for p in (PARITY, FAMILY) if (p / name).is_dir()), None)
    if packed is None:
        return in_full(name)
    folder = Path(tempfile.mkdtemp(prefix="recorded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for file in (path for path in packed.rglob("*") if path.is_file()):
        place = folder / file.relative_to(packed)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".xz":
            shutil.copyfile(file, place)
        elif file.stem == "golden.safetensors":
            arrays: dict[str, Any] = load(lzma.decompress(file.read_bytes()))
            np.savez(folder / "golden.npz", **arrays)
        else:
            place.with_suffix("").write_bytes(lzma.decompress(file.read_bytes()))
    return folder


def in_full(name: str) -> Path:
    """The full recordings under this name, or a skip that says where they were looked for."""
    if not (FULL / name).exists():
        pytest.skip(f"too large for this repository: needs ../shared/parity/{name}")
    return FULL / name
