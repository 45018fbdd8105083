"""InfiMM behind transformers' Auto classes, so that the model card's quick start runs as printed.

    from infimm_eval.flamingo import hf
    hf.register()          # instead of trust_remote_code=True

It knows transformers' conventions and the original's argument names, and computes nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoProcessor,
    BatchEncoding,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.checkpoint import load, save_pretrained
from infimm_eval.flamingo.generation import generate
from infimm_eval.flamingo.model import Flamingo, gather_pictures
from infimm_eval.flamingo.pictures import Source
from infimm_eval.flamingo.processor import Encoded, Processor
from infimm_eval.flamingo.templates import Turn
from infimm_eval.flamingo.tokenizer import IMAGE, Mark, Piece


def register() -> None:
    """Let AutoConfig, AutoModelForCausalLM and AutoProcessor open InfiMM checkpoints.

    Calling it twice does no harm.  ``infimm-zephyr`` is what the published config.json says;
    the 13B models' name for themselves was not seen.
    """
    for config in (InfiMMConfig, InfiMMVicunaConfig, InfiMMLlamaConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModelForCausalLM.register(config, InfiMM, exist_ok=True)
        AutoProcessor.register(config, InfiMMProcessor, exist_ok=True)  # type: ignore[no-untyped-call]


class InfiMMConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The original config.json, as it stands: ``visual`` and ``language`` stay dictionaries."""

    model_type: ClassVar[str] = "infimm-zephyr"


class InfiMMVicunaConfig(InfiMMConfig):  # type: ignore[no-untyped-call]
    model_type: ClassVar[str] = "infimm-vicuna"


class InfiMMLlamaConfig(InfiMMConfig):  # type: ignore[no-untyped-call]
    model_type: ClassVar[str] = "infimm-llama"


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
        **hub: Any,
    ) -> InfiMM:
        """Load a checkpoint whole onto one device, ready to generate.

        As in transformers 5, ``dtype`` (``torch_dtype`` is its old name) is by default the one
        that config.json states.  ``device_map`` is a device; a model spread over several is not
        built.
        """
        folder = _folder(name_or_path, hub, weights=True)
        if config is None:
            config = AutoConfig.from_pretrained(folder)
        wanted = dtype or torch_dtype or "auto"
        model = load(folder, device=_device(device_map), dtype=_dtype(wanted, config))
        return cls(config, model)

    def save_pretrained(self, folder: str | Path) -> None:
        """Weights and config.json in the original layout; the processor's files are not copied."""
        save_pretrained(self.model, folder)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        batch_images: Tensor,
        min_generation_length: int,
        max_generation_length: int,
        *,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool = False,
        beam_length_rule: str = "original-4.35",
        do_sample: bool = False,
    ) -> Tensor:
        """New ids alone, (B, T), the end-of-sequence token included and padding after it.

        ``batch_images`` is (B, I, 1, 3, H, W); slots of zeros, and the pictures of a row without
        an image tag, are not encoded.  Greedy unless ``num_beams`` says otherwise, whatever
        generation_config.json holds: the original never read it.  Beams are measured as
        transformers 4.35 did.  Unlike in the original, no row can produce an image tag, which
        changed what its batch-mates saw.
        """
        if do_sample:
            raise UsageError("only greedy and beam search are built; leave out do_sample")
        ids, mask = input_ids.to(self.device), attention_mask.to(self.device)
        latents, counts = self._latents(ids, batch_images)
        config = self.model.config
        eos = config.language.eos_ids
        answers = generate(
            self.model,
            ids,
            mask,
            latents,
            counts,
            min_new_tokens=min_generation_length,
            max_new_tokens=max_generation_length,
            num_beams=num_beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            beam_length_rule=beam_length_rule,
            banned_ids={config.image_token_id},
        )
        rows = [[*answer.ids, *eos[: answer.finish == "eos"]] for answer in answers]
        pad = config.language.pad_token_id
        filler = next(iter(eos), 0) if pad is None else pad
        longest = max(map(len, rows))
        padded = [row + [filler] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=self.device)

    @torch.inference_mode()
    def _latents(self, ids: Tensor, batch_images: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Every picture that a tag can show, encoded once; how many belong to each row."""
        if batch_images.ndim != 6 or batch_images.shape[2] != 1:
            raise UsageError(
                f"batch_images should be (B, I, 1, 3, H, W), not {tuple(batch_images.shape)}"
            )
        tagged = (ids == self.model.config.image_token_id).any(dim=1)
        shown = batch_images.to(self.device, self.dtype).squeeze(2)
        filled = shown.flatten(2).any(dim=2) & tagged[:, None]
        if not filled.any():
            return None, None
        numbers = iter(range(int(filled.sum())))
        rows = [[next(numbers) for _ in range(int(row.sum()))] for row in filled]
        return gather_pictures(self.model.encode_images(shown[filled]), rows)


class InfiMMProcessor:
    """Conversations in the card's form become ``input_ids``, ``attention_mask``, ``batch_images``.

    ``faithful=True`` to ``from_pretrained`` gives the ids of the original processor, with what it
    did by mistake (see ``Processor.encode_chat``).
    """

    def __init__(self, processor: Processor, *, faithful: bool = False) -> None:
        self.processor = processor
        self.faithful = faithful
        tokenizer = processor.tokenizer
        self.tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer.raw,
            eos_token=tokenizer.name(Mark.EOS),
            pad_token=tokenizer.raw.id_to_token(tokenizer.pad_id),
            padding_side="left",
            model_max_length=processor.context,
            clean_up_tokenization_spaces=False,
        )

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path, *, faithful: bool = False, **hub: Any
    ) -> InfiMMProcessor:
        return cls(Processor.load(_folder(name_or_path, hub)), faithful=faithful)

    def __call__(
        self, prompts: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]]
    ) -> BatchEncoding:
        """One conversation, or several at once, padded on the left.

        A turn is ``{"role": ..., "content": ...}``; content is a string or a list of strings and
        ``{"image": a path, bytes or PIL.Image}``.  ``batch_images`` is float32 (B, I, 1, 3, H, W):
        I the most pictures of a row, slots beyond a row's own zero.  Without any picture, it is
        one black picture, as in the original; there is no tag for it and the model ignores it.
        """
        several = [prompts] if prompts and isinstance(prompts[0], Mapping) else prompts
        rows = [self._row(conversation) for conversation in several]
        ids, mask = self.processor.batch([encoded for encoded, _ in rows], faithful=self.faithful)
        pictures = [[self.processor.pictures(s) for s in sources] for _, sources in rows]
        if rows and not any(pictures):
            pictures[0] = [self.processor.pictures.black()]
        return BatchEncoding(
            {
                "input_ids": ids,
                "attention_mask": mask,
                "batch_images": _side_by_side(pictures),
            }
        )

    def batch_decode(self, ids: Any, skip_special_tokens: bool = False) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens)
        return texts

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "batch_images"]

    def _row(self, conversation: Any) -> tuple[Encoded, list[Source]]:
        """Ids, and the pictures that are still part of them."""
        sources: list[Source] = []
        turns = [Turn(turn["role"], _content(turn["content"], sources)) for turn in conversation]
        encoded = self.processor.encode_chat(turns, faithful=self.faithful)
        return encoded, sources[encoded.dropped_pictures :]


def _content(content: Any, sources: list[Source]) -> str | list[Piece]:
    """Text and marks; the pictures go to ``sources``."""
    if isinstance(content, str):
        return content
    pieces: list[Piece] = []
    for piece in content:
        if isinstance(piece, str):
            pieces.append(piece)
        elif isinstance(piece, Mapping) and "image" in piece:
            pieces.append(IMAGE)
            sources.append(piece["image"])
        else:
            raise UsageError(f'a turn holds strings and {{"image": ...}}, not {piece!r}')
    return pieces


def _side_by_side(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Rows of (3, H, W) pictures as one (B, I, 1, 3, H, W); short rows end in zeros."""
    shape = next(picture.shape for row in rows for picture in row)
    together = torch.zeros(len(rows), max(map(len, rows)), 1, *shape)
    for row, slots in zip(rows, together, strict=True):
        for picture, slot in zip(row, slots, strict=False):
            slot[0] = picture
    return together


_NOT_OURS = {"trust_remote_code", "adapter_kwargs", "code_revision", "use_safetensors"}
_HUB = {"revision", "local_files_only", "cache_dir", "token", "force_download"}


def _folder(name_or_path: str | Path, hub: Mapping[str, Any], *, weights: bool = False) -> Path:
    """The checkpoint's folder, from the hub's cache or the hub where the name is no folder.

    transformers passes arguments that mean nothing here; what a caller alone can have passed
    and nothing here obeys is an error.
    """
    given = {key: value for key, value in hub.items() if not key.startswith("_")}
    for key in given.keys() - _NOT_OURS - _HUB:
        raise UsageError(f"InfiMM is loaded without {key}; known: {', '.join(sorted(_HUB))}")
    folder = Path(name_or_path)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.jinja", "tokenizer*"]
    if weights:
        wanted += ["*.safetensors", "pytorch_model*.bin"]
    options = {key: value for key, value in given.items() if key in _HUB}
    try:
        return Path(snapshot_download(str(name_or_path), allow_patterns=wanted, **options))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{name_or_path} is no folder here, and the hub did not give it "
            f"({str(error).strip().splitlines()[0]})"
        ) from error


def _device(device_map: torch.device | str) -> torch.device:
    if device_map == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(device_map, str | torch.device):
        raise UsageError(f"device_map should be one device, not {device_map!r}")
    return torch.device(device_map)


def _dtype(wanted: torch.dtype | str, config: PreTrainedConfig) -> torch.dtype:
    """The type asked for; ``auto`` is the checkpoint's own."""
    named = (config.dtype or "float32") if wanted == "auto" else wanted
    found = getattr(torch, named, None) if isinstance(named, str) else named
    if not isinstance(found, torch.dtype):
        raise UsageError(f"torch has no dtype {named!r}; bfloat16 and float32 are usual")
    return found
