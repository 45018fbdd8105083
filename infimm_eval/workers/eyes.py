"""The eyes of a model that is on workers, for shots that look like the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infimm_eval.types import Image


@dataclass(frozen=True, slots=True)
class FleetEyes:
    """A picture encoder (``shots.encoders``) whose pictures a worker encodes."""

    identity: Mapping[str, Any]
    """As the model's own has it: features that are kept serve a run in one process, too."""
    encode: Callable[[Sequence[Image]], Any]

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """(N, D) in float32; errors as the model's own raises them."""
        return self.encode(images)
