"""The prompt encoder: each prompt by itself in token ids, in worker threads, before it is its turn.

Knows what processors return; computes nothing with a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from infimm_eval.models.transformers.images import ImageEncoder
from infimm_eval.models.transformers.picture_tokens import PictureTokens
from infimm_eval.models.transformers.prompts import PromptFormatter
from infimm_eval.models.transformers.requests import Job, Tokens
from infimm_eval.models.transformers.templates import PromptRefused

BESIDE = {"input_ids", "attention_mask", "mm_token_type_ids"}
"""What a prompt that goes on from a KV cache may come with beside its pictures."""


class PromptEncoder:
    """Encodes prompts for one model, one at a time: a tokenizer pads for one thread only."""

    def __init__(
        self, model: Any, tokenizer: Any, formatter: PromptFormatter, images: ImageEncoder
    ) -> None:
        self.lock = Lock()
        """Whoever uses the tokenizer or the processor while prompts are prepared holds it."""
        self._model = model
        self._formatter = formatter
        self._images = images
        self._pictures = PictureTokens(model, tokenizer, formatter.marks[0])
        self._positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def room(self, new: int) -> int:
        """Tokens of a prompt that leave ``new`` places."""
        return 2**31 if self._positions is None else int(self._positions) - new

    def encode(self, job: Job, new: int) -> Tokens | None:
        """The prompt with as many examples as leave room for ``new`` tokens; None where it comes
        with what a KV cache knows nothing of.  ``PromptRefused`` where the question alone does not
        fit."""
        room = self.room(new)
        while True:
            with self.lock:
                inputs = self._formatter.encode([job.written], [job.shown])
            inputs.pop("labels", None)  # PaliGemma's, for training
            length = inputs["input_ids"].shape[1]
            if length <= room:
                break
            if not job.shorten(self._formatter):
                raise PromptRefused(
                    f"the question alone takes {length} tokens; there is room for {room}"
                )
        job.notes["tokens_in"] = length
        job.spelled = self._formatter.spell(job.written)
        ids = inputs["input_ids"][0].tolist()
        self.note_pictures(job, ids)
        return self._tokens(ids, inputs)

    def note_pictures(self, job: Job, ids: Sequence[int]) -> None:
        """What the model reads of each picture of a prompt in ids, where that can be told."""
        sizes = [picture.size for picture in job.shown]
        with self.lock:
            counts = self._pictures.of(ids, sizes) if sizes else None
        if counts:
            job.notes["picture_tokens"] = counts

    def _tokens(self, ids: list[int], inputs: Mapping[str, Tensor]) -> Tokens | None:
        tower = {name: inputs[name] for name in inputs if name not in BESIDE}
        rows: list[str] | None = []
        if tower:
            rows = self._images.expect(tower)
        if rows is None or not bool(inputs["attention_mask"].all()):
            return None
        return Tokens(ids, self._positions_of(inputs), rows)

    def _positions_of(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(A, T): one after another, or as Qwen-VL lays pictures out."""
        lays_out = getattr(self._model.base_model, "get_rope_index", None)
        if lays_out is None or "image_grid_thw" not in inputs:
            return torch.arange(inputs["input_ids"].shape[1])[None]
        wanted = {name: inputs[name] for name in inputs if name in (*BESIDE, "image_grid_thw")}
        positions: Tensor = lays_out(**wanted)[0]
        return positions[:, 0]
