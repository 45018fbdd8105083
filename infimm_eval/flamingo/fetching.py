"""A checkpoint's files from the hub: one format of its weights, not both.

Knows names of files, nothing of what is in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError

_SAFETENSORS = "*.safetensors"
_PICKLED = [
    *("pytorch_model*.bin", "adapter_model.bin"),
    *("checkpoint.pt", "open_clip_pytorch_model.bin"),
]


def fetch(name: str, files: Sequence[str], *, weights: bool = True, **options: Any) -> Path:
    """The folder in the hub's cache with the ``files`` (patterns) of a repository and, with
    ``weights``, its safetensors or, where it has none, its pickled files.

    ``options`` are the hub's own (``revision``, ``token``).  UsageError where it gives nothing.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = [*files, _SAFETENSORS] if weights else list(files)
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted, **options))
        if weights and not any(folder.glob("model*.safetensors*")):  # no file and no index
            folder = Path(snapshot_download(name, allow_patterns=_PICKLED, **options))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(
            f"no folder {name} here, and the hub did not give it ({reason}); "
            "pass a folder that holds the checkpoint"
        ) from error
    return folder
