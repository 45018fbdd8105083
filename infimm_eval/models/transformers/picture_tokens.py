"""How many tokens a model reads of each picture of a prompt, counted in what its processor made.

Knows ids and configurations; never guesses: where pictures cannot be told apart, nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ONE_PICTURE = frozenset({"paligemma", "blip", "blip-2", "instructblip", "git", "kosmos-2"})
"""Architectures that were trained on one picture a prompt: their processors take more without a
word, and answers to such prompts say nothing about the model."""


class PictureTokens:
    """Counts for one model and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, mark: str) -> None:
        self._tokenizer = tokenizer
        self._latents = _latents(model.config)
        self._counted = model.config.model_type not in ("idefics", "mllama")
        config = model.config
        named = (getattr(config, name, None) for name in ("image_token_id", "image_token_index"))
        known = next((id for id in named if isinstance(id, int)), None)
        self._image = tokenizer.convert_tokens_to_ids(mark) if known is None else known
        self._silent: dict[int, bool] = {}
        self._special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}

    def of(self, ids: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[int] | None:
        """Of each picture of a prompt in ``ids``, in order; ``sizes`` are the pictures'.  ``None``:
        they cannot be told apart.

        Of a model whose text attends to latents beside it (IDEFICS), these.
        """
        if not sizes or not self._counted:
            return [self._latents] * len(sizes) if self._latents else None
        groups = self._groups(ids)
        if len(groups) == len(sizes):
            return groups
        each, left = divmod(sum(groups), len(sizes))
        return [each] * len(sizes) if len(set(sizes)) == 1 and each and not left else None

    def _groups(self, ids: Sequence[int]) -> list[int]:
        """Lengths of the stretches of picture tokens that words stand between; marks of rows,
        tiles and lines do not part a picture."""
        groups: list[int] = []
        parted = True
        for id in ids:
            if id == self._image:
                if parted:
                    groups.append(0)
                groups[-1] += 1
                parted = False
            elif not self._is_silent(id):
                parted = True
        return groups

    def _is_silent(self, id: int) -> bool:
        if id not in self._silent:
            said = id not in self._special and self._tokenizer.decode([id]).strip()
            self._silent[id] = not said
        return self._silent[id]


def _latents(config: Any) -> int | None:
    """What text attends to of a picture in IDEFICS-1: the resampler's latents, or all of the
    tower's tokens."""
    if config.model_type != "idefics":
        return None
    if config.use_resampler:
        return int(config.perceiver_config.resampler_n_latents)
    vision = config.vision_config
    return int((vision.image_size // vision.patch_size) ** 2 + 1)
