"""The model's own eyes, for the selection of shots: a picture as the mean of its tokens.

Knows how models of the library call their towers; what is compared for what is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.attention import any_shape
from infimm_eval.models.shared.refusals import ASTRAY, one_line
from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.pictures import decoded
from infimm_eval.models.transformers.prompts import PromptFormatter
from infimm_eval.types import Image, Prompt, Turn


class TokenEncoder:
    """A picture encoder (``shots.encoders``) by the tokens that enter the language model, those of
    all tiles together, of a picture that stands alone."""

    def __init__(
        self,
        model: Any,
        formatter: PromptFormatter,
        images: ImageEncoder,
        identity: Mapping[str, Any],
    ) -> None:
        self._model = model
        self._formatter = formatter
        self._images = images
        self.identity = {"encoder": "own", "features": "mean of the picture tokens", **identity}

    @classmethod
    def able(cls, model: Any) -> bool:
        """Whether the model's tower can be asked by itself."""
        inner = model.base_model
        return hasattr(inner, "get_image_features") or type(inner).__name__ == "IdeficsModel"

    def encode_pictures(self, images: Sequence[Image]) -> Any:
        """(N, D) in float32; ``UsageError`` names a picture that cannot be shown."""
        return torch.stack([self._mean(image) for image in images]).cpu().numpy()

    def _mean(self, image: Image) -> Tensor:
        prompt = Prompt("completion", (Turn("user", (image,)),))
        try:
            shown = decoded(image.read(), image.name)
            read = self._formatter.encode([self._formatter.write(prompt)], [[shown]])
        except ASTRAY as error:
            raise UsageError(f"{image.name}: {one_line(error)}") from error
        inputs = read.to(self._model.device, self._model.dtype)
        with torch.inference_mode(), any_shape(), self._images.showing([[image.name]]):
            tokens = [part.float().flatten(0, -2) for part in self._tokens(inputs)]
        return torch.cat(tokens).mean(0)

    def _tokens(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Tensors (..., D)."""
        inner = self._model.base_model
        if type(inner).__name__ == "IdeficsModel":
            hidden = inner.vision_model(pixel_values=inputs["pixel_values"].flatten(0, 1))[0]
            return [inner.perceiver_resampler(hidden) if inner.config.use_resampler else hidden]
        named = signature(inner.get_image_features).parameters
        wanted = {name: tensor for name, tensor in inputs.items() if name in named}
        output = inner.get_image_features(**wanted, return_dict=True)
        found = getattr(output, "pooler_output", output)
        return [found] if isinstance(found, Tensor) else list(found)
