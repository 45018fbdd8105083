"""The model's own eyes, for the selection of shots: a picture as the mean of its latents.

Knows the image encoder and its feature cache; what is compared for what is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from infimm_eval.models.flamingo.images import ImageEncoder
from infimm_eval.types import Image


class LatentEncoder:
    """A picture encoder (``shots.encoders``) that costs a mean where prompts show the picture
    too."""

    def __init__(self, images: ImageEncoder, identity: Mapping[str, Any]) -> None:
        self._images = images
        self.identity = {"encoder": "own", "features": "mean of the latents", **identity}

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """(N, D) in float32; ``PictureError`` for one that cannot be shown."""
        with ThreadPoolExecutor(2) as pool:
            digests = list(pool.map(self._images.digest, images))
        latents = self._images.fetch(dict(zip(digests, images, strict=True)))
        means = torch.stack([latents[digest].float().mean(0) for digest in digests])
        return means.cpu().numpy()
