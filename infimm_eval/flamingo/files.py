"""Small files of a checkpoint folder as Python values, or one line on why not.

Knows JSON and Git LFS; what the values mean is for others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infimm_eval.errors import UsageError

_LFS = b"version https://git-lfs"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.  UsageError naming the file if it is absent or something else."""
    refuse_pointer(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UsageError(f"{path} is not a file; a checkpoint folder needs one of that name")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; a checkpoint folder needs it") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); download it again") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The same; an absent file is an empty object."""
    return read_json(path) if path.is_file() else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """An object, indented by two, ending in a line break."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def refuse_pointer(path: Path) -> None:
    """UsageError where Git LFS left a pointer in the file's place."""
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise UsageError(f"{path} is a Git LFS pointer, not the file; run `git lfs pull`")
