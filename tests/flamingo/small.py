"""Models small enough to check by hand, with weights that make every part count."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo, Generated, GenerationConfig, build
from infimm_eval.flamingo.generation import generate as _generate

IMAGE, EOC = 79, 78

TOWERS: dict[str, dict[str, Any]] = {
    "L": {"head_width": 16, "mlp_ratio": 2.6667, "rope": True, "intp_freq": True,
          "naiveswiglu": True, "subln": True, "width": 32},
    "g": {"head_width": 22, "mlp_ratio": 4.3637, "width": 44},
    "E": {"head_width": 28, "mlp_ratio": 8.571428571428571, "postnorm": True, "width": 56},
}  # fmt: skip
LANGUAGES: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 2, "sliding_window": 4096},
    "llama": {"num_attention_heads": 3, "hidden_size": 60},
}


def layout(
    tower: str = "L", decoder: str = "mistral", every: int = 2, **top: Any
) -> dict[str, Any]:
    """A `config.json` as the original would write it, but for the small resampler."""
    return {
        "model_type": "infimm-zephyr",
        "seq_length": 384,
        "cross_attn_every_n_layers": every,
        "image_token_id": IMAGE,
        "eoc_token_id": EOC,
        "visual": {"image_size": 28, "layers": 2, "patch_size": 14, "embed_dim": 8, "xattn": False}
        | TOWERS[tower],
        "language": {
            "model_type": decoder,
            "vocab_size": 80,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        | LANGUAGES[decoder],
        "resampler": {"heads": 2, "dim_head": 12, "depth": 2, "latents": 8},
        "gated": {"heads": 2, "dim_head": 16},
    } | top


def small(*args: Any, seed: int = 0, **top: Any) -> Flamingo:
    """Random weights; gates are open, so that a picture changes every later logit."""
    torch.manual_seed(seed)
    model = build(layout(*args, **top)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
            elif "gate" in name:
                parameter.fill_(0.8)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def generate(*prompts: Any, **options: Any) -> list[Generated]:
    """`flamingo.generate`, with what belongs into its `GenerationConfig` said beside the rest."""
    names = {field.name for field in fields(GenerationConfig)} & options.keys()
    config = GenerationConfig(**{name: options.pop(name) for name in names})
    return _generate(*prompts, config=config, **options)


@torch.no_grad()
def pictures(model: Flamingo, count: int, seed: int = 1) -> Tensor:
    """Latents (count, V, D) of random pictures."""
    size = model.tower.image_size
    generator = torch.Generator().manual_seed(seed)
    return model.encode_images(torch.randn(count, 3, size, size, generator=generator))


def batch(side: str = "left") -> tuple[Tensor, Tensor, list[list[int]]]:
    """Ids, mask, and each row's pictures out of five: none, one, several, adjacent, late."""
    rows = [
        [1, 5, 6, 7, 8, 9],
        [1, EOC, IMAGE, 10, 11, 12, 13],
        [1, 14, 15, EOC, IMAGE, 16, EOC, IMAGE, 17, EOC, IMAGE],
        [1, EOC, IMAGE, EOC, IMAGE, 18, 19, EOC, 20],
    ]
    widest = max(map(len, rows))
    ids, mask = [], []
    for row in rows:
        pad = [2] * (widest - len(row))
        zeros, ones = [0] * len(pad), [1] * len(row)
        ids.append(pad + row if side == "left" else row + pad)
        mask.append(zeros + ones if side == "left" else ones + zeros)
    return torch.tensor(ids), torch.tensor(mask), [[], [0], [1, 2, 3], [4, 0]]
