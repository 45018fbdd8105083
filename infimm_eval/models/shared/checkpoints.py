"""Checkpoints: where one lies, what kind it is, and a fingerprint of what it holds.

Reads names, sizes and bytes; knows nothing of what the tensors mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError

_FILES = [
    *("*.index.json", "*config.json", "*.jinja", "chat_template.json"),
    *("tokenizer*", "*.model", "*tokens*.json", "vocab.*", "merges.txt"),
]
"""What a model is built from beside its weights; everything else is for people."""

_WEIGHTS = ["*.safetensors", "*.bin"]


def folder(place: str, revision: str | None = None) -> Path:
    """The checkpoint's folder on this machine, fetched from the hub where ``place`` is an id."""
    if (here := Path(place)).is_dir():
        if revision is not None:
            raise UsageError(f"{place} is a folder; a revision belongs to a hub id")
        return here
    return _from_hub(place, revision, _FILES)


def config(place: str, revision: str | None = None) -> dict[str, Any]:
    """The parsed ``config.json``, without fetching the weights."""
    file = Path(place) / "config.json"
    if not Path(place).is_dir():
        file = _from_hub(place, revision, ["config.json"], weights=False) / "config.json"
    if not file.is_file():
        raise UsageError(f"{place} has no config.json: is it a checkpoint folder?")
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise UsageError(f"{file} should hold a JSON object, not a {type(read).__name__}")
    return read


def fingerprint(checkpoint: Path) -> str:
    """Names what the checkpoint holds, whatever its path: SHA-256 over the name and the content
    of every file that a model is built from.  Reads all of them, several at once."""
    files = sorted({file for kind in (*_WEIGHTS, *_FILES) for file in checkpoint.glob(kind)})
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(_digest, files))
    return named(*(f"{file.name} {digest}" for file, digest in zip(files, digests, strict=True)))


def named(*parts: str) -> str:
    """One fingerprint of several texts, as long as that of a folder."""
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def step(checkpoint: Path) -> dict[str, int]:
    """``{"step": N}`` where the trainer left its state beside the weights, else nothing."""
    state = checkpoint / "trainer_state.json"
    if not state.is_file():
        return {}
    try:
        return {"step": int(json.loads(state.read_text(encoding="utf-8"))["global_step"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{state} names no global_step; mend or remove it ({error})") from error


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _from_hub(
    name: str, revision: str | None, files: Sequence[str], *, weights: bool = True
) -> Path:
    from infimm_eval.flamingo.fetching import fetch  # brings torch, which nothing else here needs

    return fetch(name, files, weights=weights, revision=revision)
