"""The checkpoints of a training run: which there are in a folder, and whether each is whole.

Reads names, sizes and the ends of files; knows nothing of what the tensors mean, and loads nothing.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from infimm_eval.errors import UsageError
from infimm_eval.models.shared.checkpoints import ADAPTER
from infimm_eval.series.folder import FILE

MARKERS = (
    "DONE",
    "done",
    ".done",
    "COMPLETE",
    "complete",
    ".complete",
    "_SUCCESS",
    ".metadata_done",
)
"""Files that a trainer writes into a checkpoint when nothing else will come."""

_STEP = re.compile(
    r"(?:^|[-_.])(?:checkpoint|ckpt|global[-_]?step|iteration|iter|step|steps|batch)[-_=]?0*(\d+)$",
    re.IGNORECASE,
)
_UNFINISHED = re.compile(r"^(tmp|temp)[-_]|[.](tmp|part|partial|incomplete)$|^[.]")
"""Names that trainers give to what they will rename."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_DESCRIPTIONS = ("config.json", ADAPTER, "checkpoint.pt")
"""One of these says what it is: the library's and InfiMM's, an adapter's, OpenFlamingo's."""

_STATES = re.compile(
    r"^(optimizer|scheduler|scaler|rng_state|training_args|trainer_state|zero_pp_rank|bf16_zero|"
    r"fp16_zero|mp_rank_|random_states|__\d+_\d+)"
)
"""Weight-like files of the trainer's own, without which a model is as whole."""

Look: TypeAlias = Mapping[str, tuple[int, int]]
"""Size and time of change, in nanoseconds, of every file in a checkpoint."""


@dataclass(frozen=True, slots=True, order=True)
class Checkpoint:
    """A folder that a training run left, or is leaving, at a step."""

    step: int
    path: Path


def find(folder: Path, *, any_files: bool = False) -> list[Checkpoint]:
    """The checkpoints under a folder at any depth, by step; whole or not.

    The step is what the nearest folder's name says (``checkpoint-500``, ``step_500``,
    ``global_step500``, ...), else what the trainer left in ``trainer_state.json``.  A checkpoint is
    not looked into for others, and neither is the folder of a series.  With ``any_files`` every
    folder that a step names is one, whatever lies in it: for models of one's own.  ``UsageError``
    where there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name the one that a training run writes into")
    found = list(_walk(folder, folder, None, any_files, set()))
    deeper = {one.step for one in found if one.path != folder}
    # A trainer leaves its last weights in the folder itself, too.
    return sorted(one for one in found if one.path != folder or one.step not in deeper)


def _walk(
    folder: Path, top: Path, step: int | None, any_files: bool, seen: set[tuple[int, int]]
) -> Iterator[Checkpoint]:
    """``seen``: folders by device and number; what links lead to a second time is left out."""
    if (identity := _identity(folder)) is None or identity in seen:
        return
    seen.add(identity)
    named = step_of(folder.name) if folder != top else None
    step = step if named is None else named
    files, folders = _listed(folder)
    if FILE in files:
        return
    at = step if step is not None else _state(folder) if "trainer_state.json" in files else None
    ours = _described(files) or (any_files and named is not None and bool(files or folders))
    if at is not None and ours:
        yield Checkpoint(at, folder)
        if folder != top:
            return
    for name in folders:
        if not _UNFINISHED.search(name):
            yield from _walk(folder / name, top, step, any_files, seen)


def step_of(name: str) -> int | None:
    """The step that a folder's name tells; ``None`` where it tells none."""
    found = _STEP.search(name)
    return int(found[1]) if found else None


def look(checkpoint: Path) -> Look:
    """What lies in a checkpoint now; nothing where it has vanished."""
    found = {}
    for place, folders, files in os.walk(checkpoint):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            file = Path(place, name)
            try:
                state = file.stat()
            except OSError:  # gone since it was listed
                continue
            found[str(file.relative_to(checkpoint))] = (state.st_size, state.st_mtime_ns)
    return found


def lacks(checkpoint: Path, before: Look | None, now: Look, *, any_files: bool = False) -> str:
    """Why a checkpoint is not whole, in words; empty where it is.

    Whole is one whose index and shards are all there, none of them cut off, and that a marker file
    declares finished or that is as it was at an earlier look.
    """
    if not now:
        return "it has vanished"
    if not any_files and (lacking := _incomplete(checkpoint, now)):
        return lacking
    if _marked(checkpoint, now) or before == now:
        return ""
    return "its files may still be written"


def material(now: Look) -> Look:
    """What of it a model is made of, as far as names tell: no logs, no states of a trainer."""
    return {
        name: state
        for name, state in now.items()
        if name.endswith((*_WEIGHTS, ".json", ".model", ".jinja")) and not _STATES.match(name)
    }


def _incomplete(checkpoint: Path, now: Look) -> str:
    """What the weights lack, whoever has declared them finished."""
    names = {name for name in now if "/" not in name}
    if not names & set(_DESCRIPTIONS):
        return f"it has none of {', '.join(_DESCRIPTIONS)}"
    weights = {name for name in names if name.endswith(_WEIGHTS) and not _STATES.match(name)}
    for index in sorted(name for name in names if name.endswith(".index.json")):
        try:
            shards = set(json.loads((checkpoint / index).read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return f"{index} is no index of weights"
        if absent := sorted(str(shard) for shard in shards - names):
            return f"{index} names {absent[0]}, which is not there"
    if not weights:
        return "it has no weights"
    cut = next((name for name in sorted(weights) if not _ends(checkpoint / name)), None)
    return f"{cut} is cut off" if cut else ""


def _ends(file: Path) -> bool:
    """Whether a weight file reaches its own end, as far as its kind tells."""
    try:
        size = file.stat().st_size
        if file.suffix == ".safetensors":
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length)) if length < size else {}
            ends = [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
            return bool(header) and size >= 8 + length + max(ends, default=0)
        with file.open("rb") as stream:
            start = stream.read(2)  # of a zip, or of an old pickle, which does not tell its end
        return len(start) == 2 and (start != b"PK" or zipfile.is_zipfile(file))
    except (OSError, struct.error, ValueError, LookupError, TypeError, AttributeError):
        return False
    except RecursionError:
        return False


def _marked(checkpoint: Path, now: Look) -> bool:
    """Whether the trainer has declared it finished: by a file in it, or, as DeepSpeed does, by one
    beside it that names the last one that is."""
    if any(marker in now for marker in MARKERS):
        return True
    step = step_of(checkpoint.name)
    try:
        named = step_of((checkpoint.parent / "latest").read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        return False
    return step is not None and named is not None and step <= named


def _described(files: Collection[str]) -> bool:
    return any(name in files for name in _DESCRIPTIONS) or any(
        name.endswith(".index.json") or (name.endswith(".safetensors") and not _STATES.match(name))
        for name in files
    )


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """The names of its files and of its folders, links to folders last."""
    files: list[str] = []
    folders: list[str] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: (entry.is_symlink(), entry.name))
    except OSError:  # vanished, or nobody's business
        return [], []
    for entry in entries:
        (folders if Path(entry.path).is_dir() else files).append(entry.name)
    return files, folders


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _state(folder: Path) -> int | None:
    try:
        step = json.loads((folder / "trainer_state.json").read_text("utf-8"))["global_step"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return step if type(step) is int else None
