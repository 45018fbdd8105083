"""One writer a folder: a lock that the system takes back when its holder dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import TextIO

from infimm_eval.errors import UsageError


def claim(folder: Path, lock: str, writer: str) -> TextIO:
    """The open file ``lock`` in a folder, made where it is missing; closing it gives the folder
    back.  ``UsageError`` where nothing can be written, or another ``writer`` holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard = (folder / lock).open("w")
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror}; choose another --output"
        ) from error
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        guard.close()
        raise UsageError(
            f"{folder} is being written by another {writer}; wait for it, or choose another "
            "--output"
        ) from error
    return guard
