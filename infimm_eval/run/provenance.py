"""Which code and which machine made a figure.  Knows nothing of what was measured."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from infimm_eval import __version__
from infimm_eval.types import Model

_PACKAGES = ("torch", "transformers", "tokenizers", "pillow", "pycocoevalcap")


def code(model: Model) -> dict[str, Any]:
    """``settings.code`` of a cell: versions, the commit of a checkout and whether it was edited
    since, the device.  None of it has to agree for two figures to be comparable."""
    device = getattr(model, "device", None)
    return {**_code(), "device": None if device is None else str(device)}


@cache
def _code() -> dict[str, Any]:
    return {
        "infimm_eval": __version__,
        **_checkout(Path(__file__).resolve().parents[2]),
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _checkout(root: Path) -> dict[str, Any]:
    """Commit and dirtiness of a git checkout; ``None`` of both for an installed package."""
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "infimm_eval", "tasks")
    return {"commit": commit or None, "dirty": None if changed is None else bool(changed)}


def _git(root: Path, *words: str) -> str | None:
    """What git prints; ``None`` where there is no git, or it refuses."""
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
