"""Where a checkpoint lies, and on which device and in which numbers it is wanted.

It knows transformers' names for such wishes, and neither models nor processors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.fetching import fetch

_NOT_OURS = {
    "trust_remote_code",
    "adapter_kwargs",
    "code_revision",
    "use_safetensors",
    "low_cpu_mem_usage",  # weights are never held twice
}
_HUB = {"revision", "local_files_only", "cache_dir", "token", "force_download"}


def refuse(what: str, given: Iterable[str], hint: str) -> None:
    """UsageError where anything was ``given`` that nothing here obeys."""
    if names := ", ".join(sorted(given)):
        raise UsageError(f"{what} {names}; {hint}")


def folder_of(name_or_path: str | Path, hub: Mapping[str, Any], *, weights: bool = False) -> Path:
    """The checkpoint's folder, from the hub's cache or the hub where the name is no folder.

    transformers passes arguments that mean nothing here; what a caller alone can have passed
    and nothing here obeys is an error.
    """
    given = {key: value for key, value in hub.items() if not key.startswith("_")}
    known = ", ".join(sorted(_HUB))
    refuse("InfiMM is loaded without", given.keys() - _NOT_OURS - _HUB, f"known: {known}")
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    options = {key: value for key, value in given.items() if key in _HUB}
    wanted = ["*.json", "*.jinja", "tokenizer*"]
    return fetch(str(name_or_path), wanted, weights=weights, **options)


def check_unchanged(config: Any, stored: PreTrainedConfig, folder: Path) -> None:
    """UsageError where ``config`` asks for another model than the ``stored`` one in ``folder``."""
    if not isinstance(config, PreTrainedConfig):
        raise UsageError(f"config should come from AutoConfig, not a {type(config).__name__}")
    asked, has = _described(config), _described(stored)
    refuse(
        f"{folder} is loaded as its config.json says, which differs in",
        (key for key in asked.keys() | has.keys() if asked.get(key) != has.get(key)),
        "change the file instead",
    )


def device_of(device_map: torch.device | str) -> torch.device:
    """``auto`` is the accelerator if there is one."""
    if device_map == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(device_map, str | torch.device):
        raise UsageError(f"device_map should be one device, not {device_map!r}")
    return torch.device(device_map)


def dtype_of(wanted: torch.dtype | str, config: PreTrainedConfig) -> torch.dtype:
    """The type asked for; ``auto`` is the checkpoint's own."""
    named = (config.dtype or "float32") if wanted == "auto" else wanted
    found = getattr(torch, named, None) if isinstance(named, str) else named
    if not isinstance(found, torch.dtype):
        raise UsageError(f"torch has no dtype {named!r}; bfloat16 and float32 are usual")
    return found


def _described(config: PreTrainedConfig) -> dict[str, Any]:
    """What the configuration says of the model, its place and number type apart."""
    said = config.to_dict() | {"attn_implementation": config._attn_implementation}
    apart = ("dtype", "torch_dtype", "_name_or_path", "name_or_path", "transformers_version")
    return {key: value for key, value in said.items() if key not in apart}
