"""The folder of a cluster of our own: gone with whoever made it, or, where that was killed, when
the next one is made.

Knows files and locks, and nothing of Ray.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

PREFIX = "ie-ray-"
_LONGEST = 32
"""Letters of the folder that it is made in: a socket in it has a path of at most 107."""
_LOCK = "in-use"


class Scratch:
    """A new folder, ``path``, that is this process's until ``close``."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_parent()))
        self._lock = (self.path / _LOCK).open("w")  # the system lets go of it for whoever is killed
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self, patience: float = 0.0) -> None:
        """The folder goes.  For so many seconds, also what processes that are about to end still
        write into it."""
        until = time.monotonic() + patience
        rmtree(self.path, ignore_errors=True)
        while time.monotonic() < until:
            time.sleep(0.05)
            rmtree(self.path, ignore_errors=True)
        self._lock.close()


def sweep() -> None:
    """Remove folders of this user whose makers are gone."""
    for folder in _parent().glob(f"{PREFIX}*"):
        with suppress(OSError):  # another's, a cluster's without a lock, or in use
            if folder.lstat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _LONGEST else "/tmp")
