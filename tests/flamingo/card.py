"""A small checkpoint in the published layout, opened as the model card opens it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor

from infimm_eval.flamingo import build, save_pretrained
from infimm_eval.flamingo.tokenizer import Tokenizer

VISUAL = {"image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14}
LANGUAGE = {
    "model_type": "mistral",
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "sliding_window": 64,
    "pad_token_id": 2,
}
CONFIG = {
    "architectures": ["InfiMMZephyrModel"],
    "auto_map": {"AutoModelForCausalLM": "modeling_infimm_zephyr.InfiMMZephyrModel"},
    "model_type": "infimm-zephyr",
    "torch_dtype": "bfloat16",
    "cross_attn_every_n_layers": 2,
    "image_token_id": 4,
    "eoc_token_id": 3,
    "visual": VISUAL,
    "language": LANGUAGE,
}
PREPROCESSOR = {
    "auto_map": {"AutoProcessor": "processing_infimm_zephyr.InfiMMZephyrProcessor"},
    "image_size": 28,
}
PROMPT = [{"role": "user", "content": [{"image": "cat.png"}, "Please explain this image to me."]}]


def write_checkpoint(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A folder of random weights, and a picture beside it."""
    torch.manual_seed(0)
    folder = tmp_path / "infimm-small"
    model = build(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(2)
            elif (parameter.ndim == 2 and name.startswith("resampler")) or "gates" in name:
                parameter.mul_(8)
    save_pretrained(model.to(torch.bfloat16), folder)
    tokenizer.raw.save(str(folder / "tokenizer.json"))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>", "pad_token": "</s>"}')
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cat.png")
    return folder


def processor_of(checkpoint: Path, **options: Any) -> Any:
    return AutoProcessor.from_pretrained(checkpoint, **options)  # type: ignore[no-untyped-call]


def model_of(checkpoint: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype="float32")
