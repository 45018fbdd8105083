"""Folders of a run on many workers, of its cluster and of what they share: gone with whoever made
them, or, where that was killed, when the next one is made.

Knows files and locks, and nothing of Ray.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from shutil import rmtree

PREFIX = "ie-ray-"
_LONGEST = 32
"""Letters of the folder that it is made in: a socket in it has a path of at most 107."""
_LOCK = "in-use"
_ENDING = 2.0
"""Seconds for those that write into it to be gone."""
_SETTLED = 60.0
"""Seconds without a change, after which a folder without a lock is nobody's."""


class Scratch:
    """A new folder, ``path``, that is this process's until ``close``."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_parent()))
        self._lock = (self.path / _LOCK).open("w")  # the system lets go of it for whoever is killed
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """The folder goes, and whoever still writes into it: a cluster that is interrupted while it
        starts forgets some of its processes, which would be there for a minute.  What is written
        into it all the same goes when a later folder is made."""
        until = time.monotonic() + _ENDING
        while (found := writers(self.path)) and time.monotonic() < until:
            for process in found:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)  # one of them may just have started another
        rmtree(self.path, ignore_errors=True)
        self._lock.close()


class Shared:
    """A folder, ``path``, of all processes of this machine that were told its ``name``."""

    def __init__(self, name: str) -> None:
        self.path = _parent() / f"{PREFIX}{name}"
        sweep(besides=self.path)  # another of them may be about to take hold of it
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._lock = (self.path / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def remove(self) -> None:
        """For all of them; what others still write is lost."""
        rmtree(self.path, ignore_errors=True)
        self._lock.close()


def writers(folder: Path) -> set[int]:
    """Other processes of this user that have a file in the folder open for writing; none where the
    system does not tell (no ``/proc``).  Children of this one, which may be forks of it, are
    none."""
    found = set()
    child = f"PPid:\t{os.getpid()}\n"
    for process in {*Path("/proc").glob("[0-9]*")} - {Path(f"/proc/{os.getpid()}")}:
        with suppress(OSError):  # it has ended, or is another's
            files = (process / "fd").iterdir()
            written = (file for file in files if file.lstat().st_mode & stat.S_IWUSR)
            inside = any(folder in file.readlink().parents for file in written)
            if inside and child not in (process / "status").read_text():
                found.add(int(process.name))
    return found


def sweep(besides: Path | None = None) -> None:
    """Remove folders of this user whose makers are gone, ``besides`` one."""
    for folder in {*_parent().glob(f"{PREFIX}*")} - {besides}:
        with suppress(OSError):  # another's, or in use
            found = folder.lstat()
            if found.st_uid == os.getuid() and not _is_job(folder):
                _remove_unused(folder, time.time() - found.st_mtime)


def _is_job(folder: Path) -> bool:
    """Whether it is that of a cluster which a SLURM script started: it goes with the script."""
    return folder.name.removeprefix(PREFIX).isdigit()


def _remove_unused(folder: Path, age: float) -> None:
    lock = folder / _LOCK
    if not lock.exists():  # it is about to be made, or was removed with the rest
        if age > _SETTLED:
            rmtree(folder, ignore_errors=True)
        return
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _LONGEST else "/tmp")
