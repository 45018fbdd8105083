"""Who a worker is: everything about its model and its libraries that can move a number.

Compares, and says in words what differs; loads no model.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import infimm_eval
from infimm_eval.types import Model, Style

_PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "pillow", "numpy")
"""Whose versions can move a number."""

_BESIDE = ("prompt_format", "one_picture", "picture_tokens", "remarks")
"""What the harness asks of a model beside the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A worker as it presents itself."""

    name: str
    style: Style
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    beside: Mapping[str, Any]
    """``prompt_format``, ``one_picture``, ... where its model has them."""
    ranks: bool
    eyes: Mapping[str, Any] | None
    """The identity of its model's picture encoder, where there is one."""
    device: str
    kind: str
    """The accelerator's name, else ``cpu``."""
    node: str
    pid: int

    @classmethod
    def of(cls, model: Model, *, node: str, pid: int) -> Hello:
        """Of a model that is loaded."""
        device = str(getattr(model, "device", None) or "cpu")
        encoder = getattr(model, "picture_encoder", None)
        return cls(
            name=model.name,
            style=model.style,
            settings=dict(model.settings),
            versions=versions(),
            beside={name: getattr(model, name) for name in _BESIDE if hasattr(model, name)},
            ranks=callable(getattr(model, "rank", None)),
            eyes=None if encoder is None else dict(encoder.identity),
            device=device,
            kind=_kind(device),
            node=node,
            pid=pid,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """Everything in which equals are equal."""
        return {"name": self.name, "style": self.style, **self.versions, **self.settings}


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """In what ``found`` is not as it should be; empty where it is."""
    names = sorted(name for name, value in wanted.items() if found.get(name) != value)
    return ", ".join(f"{n} {found.get(n)!r}, not {wanted[n]!r}" for n in islice(names, 3))


@cache
def versions() -> dict[str, str]:
    """Of this machine's libraries, and a digest of this package's own code."""
    found = {name: _version(name) for name in _PACKAGES}
    return {"infimm_eval": f"{infimm_eval.__version__} ({_code()})", **found}


def _code() -> str:
    root = Path(infimm_eval.__file__).parent
    digest = sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _kind(device: str) -> str:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return device.partition(":")[0]
    return str(torch.cuda.get_device_name(device.partition(",")[0]))
