"""How a worker makes the model: what is sent to it in place of one.  Loads nothing until it is told
to, and knows nothing of Ray.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from infimm_eval import models
from infimm_eval.models import ModelOptions
from infimm_eval.types import Model


@dataclass(frozen=True, slots=True)
class Recipe:
    """A model by its name, and what has to travel with the name."""

    spec: str
    """What ``--model`` takes."""
    options: ModelOptions
    folder: str
    """Where the program was started: what relative paths are relative to."""
    source: bytes | None = None
    """The file of a model of one's own."""
    shared: str | None = None
    """The name of the folder (``scratch.Shared``) in which the workers of a machine keep encoded
    pictures for each other."""

    @classmethod
    def of(cls, spec: str, options: ModelOptions, *, shared: str | None = None) -> Recipe:
        """For a name as it is understood here."""
        own = _own_file(spec)
        source = own.read_bytes() if own is not None and own.is_file() else None
        return cls(spec, options, str(Path.cwd()), source, shared)

    def load(self, pictures: Path | None = None) -> Model:
        """The model, on this machine; errors as ``models.load`` has them.  ``pictures`` is the
        folder for encoded ones where nobody has chosen one."""
        # Of a small model on a busy processor: see ``run.evaluate``.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        options = (
            self.options if pictures is None else replace(self.options, picture_cache=pictures)
        )
        own = _own_file(self.spec)
        if own is None or self.source is None or _holds(own, self.source):
            return models.load(self.spec, options)
        with tempfile.TemporaryDirectory(prefix="infimm-eval-model-") as folder:
            copy = Path(folder) / own.name
            copy.write_bytes(self.source)
            return models.load(f"{copy}{self.spec.removeprefix(_path(self.spec))}", options)


def _path(spec: str) -> str:
    return re.sub(r":\w+$", "", spec)


def _own_file(spec: str) -> Path | None:
    return Path(_path(spec)).expanduser() if re.search(r"\.py(:\w+)?$", spec) else None


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
