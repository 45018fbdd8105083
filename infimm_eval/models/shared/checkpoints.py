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

_WEIGHTS = ["*.safetensors", "*.bin", "checkpoint.pt"]

ADAPTER = "adapter_config.json"
"""Where it lies there is an adapter, alone or beside the weights that it is for."""


def folder(place: str, revision: str | None = None) -> Path:
    """The checkpoint's folder on this machine, fetched from the hub where ``place`` is an id."""
    if (here := Path(place)).is_dir():
        if revision is not None:
            raise UsageError(f"{place} is a folder; a revision belongs to a hub id")
        return here
    return _from_hub(place, revision, _FILES)


def config(place: str, revision: str | None = None) -> dict[str, Any]:
    """The parsed ``config.json``, of the base where there is an adapter alone, without fetching the
    weights."""
    here = Path(place)
    if not here.is_dir():
        here = _from_hub(place, revision, ["config.json", ADAPTER], weights=False)
    if (here / "config.json").is_file():
        return _object(here / "config.json")
    if (here / ADAPTER).is_file():
        return config(*_base(here))
    raise UsageError(f"{place} has no config.json: is it a checkpoint folder?")


def base(checkpoint: Path) -> Path:
    """The folder of the weights that a checkpoint's adapter is for: its own where it holds both,
    else the one that its ``adapter_config.json`` names, fetched if need be.  Itself without one."""
    if (checkpoint / "config.json").is_file() or not (checkpoint / ADAPTER).is_file():
        return checkpoint
    found = folder(*_base(checkpoint))
    if (found / ADAPTER).is_file():
        raise UsageError(
            f"{checkpoint} holds an adapter for {found}, where there is another; merge that one "
            "into its weights first"
        )
    return found


def fingerprint(*places: Path) -> str:
    """Names what a checkpoint holds, whatever its path: SHA-256 over the name and the content of
    every file that a model is built from, in one folder or in those of a base and its adapter, or
    of single files.  Reads all of them, each once, several at once."""
    kinds = (*_WEIGHTS, *_FILES)
    files = dict.fromkeys(
        file
        for place in places
        for file in sorted({found for kind in kinds for found in place.glob(kind)} or [place])
        if file.is_file()
    )
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
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise UsageError(f"{state} names no global_step; mend or remove it ({error})") from error


def _base(checkpoint: Path) -> tuple[str, str | None]:
    """A place as ``folder`` takes it, and its revision, as ``adapter_config.json`` has them; a
    relative path may be meant from there."""
    written = _object(checkpoint / ADAPTER)
    place, revision = written.get("base_model_name_or_path"), written.get("revision")
    if not isinstance(place, str) or not place:
        raise UsageError(
            f"{checkpoint / ADAPTER} names no base_model_name_or_path; write the folder or the hub "
            "id of the model there that the adapter is for"
        )
    for here in (Path(place), checkpoint / place):
        if here.is_dir() and here.resolve() != checkpoint.resolve():
            return str(here), None
    if place.count("/") != 1 or place.startswith((".", "/")):
        raise UsageError(
            f"{checkpoint / ADAPTER}: the base_model_name_or_path {place} is no folder here; write "
            "there where the model lies that the adapter is for"
        )
    return place, revision if isinstance(revision, str) else None


def _object(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise UsageError(f"{file} should hold a JSON object, not a {type(read).__name__}")
    return read


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _from_hub(
    name: str, revision: str | None, files: Sequence[str], *, weights: bool = True
) -> Path:
    from infimm_eval.flamingo.fetching import fetch  # brings torch, which nothing else here needs

    return fetch(name, files, weights=weights, revision=revision)
