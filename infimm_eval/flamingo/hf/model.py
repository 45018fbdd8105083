"""A ``Flamingo`` under the original's calling convention and transformers' method names.

It knows how others call the model, and computes nothing itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutput

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.flamingo.checkpoint import load, save_pretrained
from infimm_eval.flamingo.decoding import GenerationConfig
from infimm_eval.flamingo.files import read_json, write_json
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.hf.opening import check_unchanged, device_of, dtype_of, folder_of, refuse
from infimm_eval.flamingo.model import Flamingo, gather_pictures

_SEARCH: dict[str, Any] = {
    "num_beams": 1,
    "length_penalty": 1.0,
    "early_stopping": False,
    "beam_length_rule": "original-4.35",
}
_KNOWN = (
    "known: num_beams, length_penalty, early_stopping, beam_length_rule, and the original's "
    "min_generation_length and max_generation_length for min_new_tokens and max_new_tokens"
)


class InfiMM(nn.Module):
    """What AutoModelForCausalLM gives: a ``Flamingo`` under the original's calling convention."""

    def __init__(self, config: PreTrainedConfig, model: Flamingo) -> None:
        super().__init__()
        self.config = config
        self.model = model

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        config: PreTrainedConfig | None = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        device_map: torch.device | str = "cpu",
        resampler_heads: int | None = None,
        **hub: Any,
    ) -> InfiMM:
        """Load a checkpoint whole onto one device, ready to generate.

        As in transformers 5, ``dtype`` (``torch_dtype`` is its old name) is by default the one
        that config.json states.  ``device_map`` is a device; a model spread over several is not
        built.  ``resampler_heads`` as in ``flamingo.load``.  ``config`` may state a dtype; one that
        describes another model than the checkpoint's own is an error.
        """
        folder = folder_of(name_or_path, hub, weights=True)
        stored = AutoConfig.from_pretrained(folder)
        if config is None:
            config = stored
        check_unchanged(config, stored, folder)
        model = load(
            folder,
            device=device_of(device_map),
            dtype=dtype_of(dtype or torch_dtype or "auto", config),
            resampler_heads=resampler_heads,
        )
        return cls(config, model)

    @classmethod
    def _from_config(cls, config: PreTrainedConfig, **options: Any) -> InfiMM:
        """What ``AutoModelForCausalLM.from_config`` asks for."""
        raise UsageError(
            "InfiMM is opened with from_pretrained; a model of random weights is "
            "flamingo.build(config.to_dict())"
        )

    def save_pretrained(
        self, folder: str | Path, *, safe_serialization: bool = True, **options: Any
    ) -> None:
        """One safetensors file and config.json in the original layout, which states the dtype, so
        that loading gives the same numbers again."""
        refuse("a model is saved without", options, "it becomes one safetensors file")
        if not safe_serialization:
            raise UsageError("a model is saved as safetensors; leave out safe_serialization")
        save_pretrained(self.model, folder)
        path = Path(folder) / "config.json"
        config = read_json(path)
        if not {"dtype", "torch_dtype"} & config.keys():
            config["torch_dtype"] = str(self.dtype).removeprefix("torch.")
        write_json(path, config)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' number type."""
        return self.model.dtype

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, batch_images: Tensor, **options: Any
    ) -> CausalLMOutput:
        """``logits`` (B, T, Y), float32, and nothing else; those of padding mean nothing.

        Pictures as in ``generate``.
        """
        refuse("InfiMM computes logits without", options, "they come from ids, mask and pictures")
        ids, mask = input_ids.to(self.device), attention_mask.to(self.device)
        logits: Any = self.model(ids, mask, *self._latents(ids, batch_images))
        return CausalLMOutput(logits=logits)

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        batch_images: Tensor,
        min_generation_length: int = 0,
        max_generation_length: int | None = None,
        **options: Any,
    ) -> Tensor:
        """New ids alone, (B, T), the end-of-sequence token included and padding after it.

        Options are ``num_beams`` 1, ``length_penalty`` 1.0, ``early_stopping`` False and
        ``beam_length_rule`` "original-4.35"; ``do_sample`` may be passed as False.

        ``batch_images`` is (B, I, 1, 3, H, W).  Equal pictures are encoded once; slots of zeros
        behind a row's last picture, and the pictures of a row without an image tag, not at all.
        Zeros before another picture are a picture, as in the original.

        Greedy unless ``num_beams`` says otherwise, whatever generation_config.json holds: the
        original never read it.  Unlike in the original, no row can produce an image tag, which
        changed what its batch-mates saw.

        Beams are by default measured as transformers 4.35 did, by the length of the answer and the
        padded prompt, so that a row's answer can change with the longest prompt of its batch;
        ``beam_length_rule="transformers"`` counts the answer alone and has no such effect.
        """
        if options.pop("do_sample", False):
            raise UsageError("only greedy and beam search are built; leave out do_sample")
        refuse("InfiMM generates without", options.keys() - _SEARCH.keys(), _KNOWN)
        if max_generation_length is None:
            raise UsageError("generate needs max_generation_length, the most tokens of an answer")
        ids, mask = input_ids.to(self.device), attention_mask.to(self.device)
        with torch.inference_mode():
            latents, counts = self._latents(ids, batch_images)
        tokens = self.model.tokens
        search = GenerationConfig(
            max_new_tokens=max_generation_length,
            min_new_tokens=min_generation_length,
            banned_ids={tokens.image},
            **_SEARCH | options,
        )
        answers = generate(self.model, ids, mask, latents, counts, config=search)
        for prompt, answer in enumerate(answers):
            if answer.finish == "nan":
                raise MachineryError(
                    f"the model's scores for prompt {prompt} of the batch are not finite numbers: "
                    "damaged weights, or too narrow a dtype for them"
                )
        rows = [[*answer.ids, *tokens.eos[: answer.finish == "eos"]] for answer in answers]
        filler = next(iter(tokens.eos), 0) if tokens.pad is None else tokens.pad
        longest = max(map(len, rows))
        padded = [row + [filler] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=self.device)

    def _latents(self, ids: Tensor, batch_images: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Every distinct picture that a tag can show, encoded once; how many belong to each row."""
        shape = tuple(batch_images.shape)
        if len(shape) != 6 or shape[2] != 1 or shape[0] != len(ids):
            raise UsageError(
                f"batch_images should be (B, I, 1, 3, H, W) with B {len(ids)}, not {shape}"
            )
        tagged = (ids == self.model.tokens.image).any(dim=1).tolist()
        shown = batch_images.to(self.device, self.dtype).squeeze(2)
        distinct: dict[bytes, Tensor] = {}
        rows: list[list[bytes]] = []
        for slots, has_tag, filled in zip(
            shown, tagged, shown.flatten(2).any(dim=2).tolist(), strict=True
        ):
            count = max((i + 1 for i, full in enumerate(filled) if full and has_tag), default=0)
            rows.append([_bytes(picture) for picture in slots[:count]])
            distinct |= dict(zip(rows[-1], slots, strict=False))
        if not distinct:
            return None, None
        place = {picture: i for i, picture in enumerate(distinct)}
        latents = self.model.encode_images(torch.stack(list(distinct.values())))
        return gather_pictures(latents, [[place[picture] for picture in row] for row in rows])


def _bytes(picture: Tensor) -> bytes:
    return picture.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes()
