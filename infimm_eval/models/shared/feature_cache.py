"""The feature cache: encoded pictures by digest, near the model, in memory, on disk.

Serves every kind of features (a resampler's latents, what another tower puts out) and knows nothing
of how they are made.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress
from errno import ENOSPC
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.models.shared.batch_limiter import release, require_memory, too_large
from infimm_eval.models.shared.memory import free_bytes
from infimm_eval.models.shared.statistics import Statistics

_FREE = 2 << 30
"""Bytes of a disk that are left to others, a run's log among them, or a twentieth of it."""


class Tier:
    """A least-recently-used cache of tensors under a budget of bytes.

    A tensor larger than the whole budget is not kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self._held: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        """How many it holds."""
        return len(self._held)

    def __contains__(self, digest: str) -> bool:
        """Whether ``get`` would find it."""
        return digest in self._held

    def get(self, digest: str) -> Tensor | None:
        """The tensor, which is now the one asked for last; ``None`` where there is none."""
        if digest in self._held:
            self._held.move_to_end(digest)
        return self._held.get(digest)

    def put(self, digest: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
        """Returns what had to go, oldest first."""
        if digest in self._held:
            return []
        self._held[digest] = tensor
        self.used += tensor.nbytes
        return self._within()

    def clear(self) -> None:
        """Drops everything; the budget stays."""
        self._held.clear()
        self.used = 0

    def halve(self) -> list[tuple[str, Tensor]]:
        """Keeps half of what it holds, from now on; returns what had to go, oldest first."""
        self.budget = self.used // 2
        return self._within()

    def _within(self) -> list[tuple[str, Tensor]]:
        gone = []
        while self.used > self.budget:
            name, old = self._held.popitem(last=False)
            self.used -= old.nbytes
            gone.append((name, old))
        return gone


class FeatureCache:
    """What a model made of each picture, one tensor each, ready on ``device``.

    ``identity`` names everything that the numbers depend on beside the picture: weights,
    preprocessing, dtype.  ``device_bytes`` are a quarter of what is free there and ``host_bytes``
    half of it, unless given: a benchmark's pictures should fit, and they fill it as they come.  On
    a processor there is one memory, and ``device_bytes`` is not used.  With ``folder``, each
    tensor is also written under that name, and a later run finds it there; two runs may share the
    folder.
    """

    def __init__(
        self,
        identity: str,
        statistics: Statistics,
        *,
        device: torch.device,
        device_bytes: int | None = None,
        host_bytes: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.device = device
        self.statistics = statistics
        if device_bytes is None:
            device_bytes = free_bytes(device) // 4
        if host_bytes is None:
            host_bytes = free_bytes(torch.device("cpu")) // 2
        self._device_tier = Tier(device_bytes if device.type != "cpu" else host_bytes)
        self._host_tier = Tier(host_bytes if device.type != "cpu" else 0)
        self._folder = None
        if folder is not None:
            self._folder = folder / sha256(identity.encode()).hexdigest()[:24]
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"encoded pictures cannot be kept in {folder} ({error.strerror}); choose "
                    "another --picture-cache"
                ) from error

    def holds(self, digest: str) -> bool:
        """Whether ``get`` would find it now."""
        if digest in self._device_tier or digest in self._host_tier:
            return True
        file = self._file(digest)
        return file is not None and file.is_file()

    def get(self, digest: str) -> Tensor | None:
        """The tensor on the device, or ``None`` where the picture has to be encoded."""
        if (near := self._device_tier.get(digest)) is not None:
            return near
        if (far := self._host_tier.get(digest)) is not None:
            return self._keep(digest, self._brought(far))
        if (stored := self._read(digest)) is not None:
            self.statistics.count("pictures_from_disk")
            return self._keep(digest, self._brought(stored))
        return None

    def clear(self) -> None:
        """Forgets everything but what is on disk."""
        self._device_tier.clear()
        self._host_tier.clear()

    def give_way(self) -> bool:
        """Frees half of what is kept near the model; whether there was anything."""
        if not len(self._device_tier):
            return False
        self._spill(self._device_tier.halve())
        return True

    def _brought(self, tensor: Tensor) -> Tensor:
        """On the device; where its memory gives out, half of what is kept there goes."""
        while True:
            try:
                return tensor.to(self.device)
            except RuntimeError as error:
                require_memory(error)
                release(error)
                if not self.give_way():
                    raise too_large("one encoded picture", error) from error
                self.statistics.count("oom_halvings")

    def put(self, digest: str, tensor: Tensor) -> Tensor:
        """Keeps the tensor, which is returned as it came."""
        self._write(digest, tensor)
        return self._keep(digest, tensor)

    def _keep(self, digest: str, tensor: Tensor) -> Tensor:
        self._spill(self._device_tier.put(digest, tensor))
        return tensor

    def _spill(self, gone: list[tuple[str, Tensor]]) -> None:
        for name, old in gone:
            if self._host_tier.budget:
                self._host_tier.put(name, old.cpu())

    def _file(self, digest: str) -> Path | None:
        return self._folder / digest[:2] / f"{digest}.safetensors" if self._folder else None

    def _read(self, digest: str) -> Tensor | None:
        file = self._file(digest)
        if file is None or not file.is_file():
            return None
        try:
            return load_file(file)["latents"]
        except (SafetensorError, KeyError):
            # A disk that lost part of a file: the picture is still at hand, so encode it again.
            self.statistics.count("damaged_on_disk")
            return None

    def _write(self, digest: str, tensor: Tensor) -> None:
        file = self._file(digest)
        if file is None:
            return
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            disk = disk_usage(file.parents[1])
            if disk.free < min(_FREE, disk.total // 20):
                raise OSError(ENOSPC, "the disk is nearly full")
            file.parent.mkdir(exist_ok=True)
            save_file({"latents": tensor.detach().cpu().contiguous()}, part)
            part.replace(file)
        except (OSError, SafetensorError):
            # A full disk, say: a later run will encode the picture again, this one goes on.
            self.statistics.count("unwritten_to_disk")
            with suppress(OSError):
                part.unlink()
