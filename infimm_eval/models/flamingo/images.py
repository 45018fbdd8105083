"""The image encoder: each distinct picture is read, shrunk and encoded once, whoever asks first.

Knows digests and tensors; where a picture stands in a prompt is not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

import torch
from torch import Tensor

from infimm_eval.errors import MachineryError
from infimm_eval.flamingo.pictures import PictureError
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.feature_cache import FeatureCache
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.types import Image


@dataclass(frozen=True, slots=True)
class Tower:
    """The two halves of encoding, where the first's output is kept for other resamplers."""

    features: FeatureCache
    see: Callable[[Tensor], Tensor]
    """Pixels (I, 3, H, W) to the tower's output (I, N, W)."""
    resample: Callable[[Tensor], Tensor]
    """That to latents (I, V, D)."""


class ImageEncoder:
    """``digest`` prepares a picture, in any thread; ``fetch`` gives its latents, in the model's.

    ``pixels`` turns a file's bytes and the picture's name into a tensor (3, H, W); ``encode``
    turns (I, 3, H, W) into latents (I, V, D), at most ``batch`` pictures at a time.
    """

    def __init__(
        self,
        pixels: Callable[[bytes, str], Tensor],
        encode: Callable[[Tensor], Tensor],
        features: FeatureCache,
        statistics: Statistics,
        *,
        dtype: torch.dtype,
        batch: int,
        tower: Tower | None = None,
    ) -> None:
        self.features = features
        self._tower = tower
        self.statistics = statistics
        self.limiter: BatchLimiter[tuple[str, Image]] = BatchLimiter(
            batch, statistics, features.give_way
        )
        self._pixels = pixels
        self._encode = encode
        self._dtype = dtype
        self._lock = Lock()
        self._digests: dict[Image, str] = {}
        self._distinct: set[str] = set()
        self._decoded: dict[str, Future[Tensor]] = {}

    def digest(self, image: Image) -> str:
        """The digest of the picture's file; its pixels are made now, unless its latents are kept
        or another thread makes them.  ``PictureError`` for one that cannot be shown, whoever asks
        first."""
        known = self._digests.get(image)
        file = None if known else _read(image)
        digest = known or sha256(file or b"").hexdigest()
        with self._lock:
            if known is None:
                self._digests[image] = digest
            if digest not in self._distinct:
                self._distinct.add(digest)
                self.statistics.count("pictures_distinct")
            if self._held(digest):
                return digest
            known_pixels = self._decoded.get(digest)
            pixels = known_pixels or Future[Tensor]()
            self._decoded[digest] = pixels
        if known_pixels is None:
            try:
                pixels.set_result(self._decode(image, file))
            except BaseException as error:
                pixels.set_exception(error)
                raise
        pixels.result()
        return digest

    def fetch(self, wanted: Mapping[str, Image]) -> dict[str, Tensor]:
        """Latents (V, D) by digest, encoding those that are not kept."""
        self.statistics.count("pictures_asked", len(wanted))
        found = {digest: self.features.get(digest) for digest in wanted}
        missing = [digest for digest, latents in found.items() if latents is None]
        made = self.limiter.run([(digest, wanted[digest]) for digest in missing], self._encode_some)
        found |= zip(missing, made, strict=True)
        return {digest: latents for digest, latents in found.items() if latents is not None}

    def _encode_some(self, wanted: Sequence[tuple[str, Image]]) -> list[Tensor]:
        if self._tower is None:
            made = self._through(self._encode, wanted)
        else:
            seen = self._seen(wanted, self._tower)
            with self.statistics.stage("encode"):
                made = [latents.clone() for latents in self._tower.resample(torch.stack(seen))]
        with self._lock:
            for (digest, _), latents in zip(wanted, made, strict=True):
                self.features.put(digest, latents)
                self._decoded.pop(digest, None)
        return made

    def _seen(self, wanted: Sequence[tuple[str, Image]], tower: Tower) -> list[Tensor]:
        """What the tower makes of pictures, which runs for those that it has not seen."""
        found = {digest: tower.features.get(digest) for digest, _ in wanted}
        missing = [(digest, image) for digest, image in wanted if found[digest] is None]
        for (digest, _), seen in zip(missing, self._through(tower.see, missing), strict=True):
            found[digest] = tower.features.put(digest, seen)
        self.statistics.count("pictures_recalled", len(wanted) - len(missing))
        return [known for digest, _ in wanted if (known := found[digest]) is not None]

    def _through(
        self, encode: Callable[[Tensor], Tensor], wanted: Sequence[tuple[str, Image]]
    ) -> list[Tensor]:
        if not wanted:
            return []
        with self.statistics.waiting("idle"):
            each = [self._take(digest, image) for digest, image in wanted]
        with self.statistics.stage("encode"):
            pinned = self.features.device.type == "cuda"
            room = (len(each), *each[0].shape)
            stacked = torch.stack(each, out=torch.empty(room, dtype=self._dtype, pin_memory=pinned))
            pixels = stacked.to(self.features.device, non_blocking=True)
            # Copies, so that dropping one picture frees its memory.
            made = [features.clone() for features in encode(pixels)]
        self.statistics.count("pictures_encoded", len(made))
        return made

    def _held(self, digest: str) -> bool:
        """Whether no pixels are needed for the picture."""
        if self.features.holds(digest):
            return True
        return self._tower is not None and self._tower.features.holds(digest)

    def _take(self, digest: str, image: Image) -> Tensor:
        """Pixels that a worker made, or, where the latents were dropped since, makes now."""
        with self._lock:
            future = self._decoded.get(digest)
        if future is not None:
            return future.result()
        self.statistics.count("pictures_read_again")
        try:
            return self._decode(image, None)
        except PictureError as error:  # it was there a while ago
            raise MachineryError(str(error)) from error

    def _decode(self, image: Image, file: bytes | None) -> Tensor:
        return self._pixels(_read(image) if file is None else file, image.name).to(self._dtype)


def _read(image: Image) -> bytes:
    try:
        return image.read()
    except OSError as error:
        raise PictureError(f"{image.name}: the picture cannot be read ({error})") from error
