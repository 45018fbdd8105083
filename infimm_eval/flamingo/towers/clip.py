"""CLIP's vision transformer (Radford et al. 2021, arXiv:2103.00020), as OpenFlamingo and Otter read
it: the patch tokens of the last block, without CLS and before `ln_post`.

Knows nothing of text or of the resampler.  Parameters are named as in open_clip before 2.23, which
from then on gives the tokens after `ln_post` instead, something else than the published models saw;
transformers' names are a matter of `HF_NAMES` and `HF_SPLIT`.

Shapes: I pictures, N tokens (CLS first, then patches row by row), W width, H heads, d head width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.errors import UsageError, unknown
from infimm_eval.flamingo.attention import attend, join_heads, split_heads
from infimm_eval.flamingo.kernels import quick_gelu
from infimm_eval.flamingo.patches import embed_patches
from infimm_eval.flamingo.section import Number, Section, Size

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}

HEAD_WIDTH = 64
"""Of every ViT that OpenAI released, and open_clip's default."""


@dataclass(frozen=True)
class _OpenClip(Section):
    """`vision_cfg`, with open_clip's defaults."""

    width: Size = 768
    layers: Size = 12
    head_width: Size = HEAD_WIDTH
    mlp_ratio: Number = 4.0
    patch_size: Size = 16
    image_size: Size = 224

    _PLACE = "'vision_cfg'"
    _OTHER: ClassVar = (
        *("timm_model_name", "ls_init_value", "attentional_pool", "input_patchnorm"),
        *("no_ln_pre", "act_kwargs", "norm_kwargs"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in self._OTHER:
            if value := self.extra.get(key):
                raise self.error(f"has {key} {value!r}; only CLIP's plain ViTs are built here")


@dataclass(frozen=True)
class ClipConfig(Section):
    """A CLIP vision tower, under the names and with the defaults of transformers'
    `CLIPVisionConfig`."""

    hidden_size: Size = 768
    intermediate_size: Size = 3072
    num_hidden_layers: Size = 12
    num_attention_heads: Size = 12
    image_size: Size = 224
    patch_size: Size = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: Number = 1e-5

    _PLACE = "'vision_config'"

    @classmethod
    def from_open_clip(cls, given: Mapping[str, Any]) -> Self:
        """From a model's description as open_clip has it: `vision_cfg` and, beside it,
        `quick_gelu`.  UsageError for towers of another kind (ResNets, timm's) and for options that
        change what a ViT computes."""
        if not isinstance(described := given.get("vision_cfg"), Mapping):
            raise UsageError(
                "open_clip describes a tower as 'vision_cfg', an object; there is none"
            )
        cfg = _OpenClip.from_dict(described)
        activation = "quick_gelu" if given.get("quick_gelu") else "gelu"
        return cls.from_dict(
            {
                "hidden_size": cfg.width,
                "intermediate_size": int(cfg.width * cfg.mlp_ratio),
                "num_hidden_layers": cfg.layers,
                "num_attention_heads": max(1, cfg.width // cfg.head_width),
                "image_size": cfg.image_size,
                "patch_size": cfg.patch_size,
                "hidden_act": activation,
            }
        )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_act not in ACTIVATIONS:
            raise unknown("hidden_act in 'vision_config':", self.hidden_act, ACTIVATIONS)
        if self.hidden_size % self.num_attention_heads or self.image_size % self.patch_size:
            raise self.error(
                f"needs hidden_size divisible by num_attention_heads and image_size by patch_size, "
                f"not {self.hidden_size}/{self.num_attention_heads}, "
                f"{self.image_size}/{self.patch_size}"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size


class ClipTower(nn.Module):
    """Pixels in, the grid^2 patch tokens of the last block out.

    `ln_post` belongs to CLIP's own embedding; checkpoints hold it, nothing here uses it.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        W, p, eps = config.hidden_size, config.patch_size, config.layer_norm_eps
        self.conv1 = nn.Conv2d(3, W, kernel_size=p, stride=p, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(W))
        self.positional_embedding = nn.Parameter(torch.empty(1 + config.grid**2, W))
        nn.init.normal_(self.positional_embedding, std=W**-0.5)
        self.ln_pre = nn.LayerNorm(W, eps=eps)
        self.transformer = _Transformer(config)
        self.ln_post = nn.LayerNorm(W, eps=eps)

    @property
    def width(self) -> int:
        """W, of every token."""
        return self.config.hidden_size

    @property
    def image_size(self) -> int:
        """Pixels along a side."""
        return self.config.image_size

    def forward(self, pixels_I3HW: Tensor) -> Tensor:
        """(I, 3, image_size, image_size) -> (I, N - 1, W).  ValueError for pictures of another
        size."""
        size = self.config.image_size
        if pixels_I3HW.shape[1:] != (3, size, size):
            raise ValueError(f"pictures of {tuple(pixels_I3HW.shape[1:])}, not (3, {size}, {size})")
        patches_IPW = embed_patches(pixels_I3HW, self.conv1.weight, None)
        cls_I1W = self.class_embedding.expand(len(patches_IPW), 1, -1)
        x_INW: Tensor = self.ln_pre(
            torch.cat([cls_I1W, patches_IPW], dim=1) + self.positional_embedding
        )
        for block in self.transformer.resblocks:
            x_INW = block(x_INW)
        return x_INW[:, 1:]


class _Transformer(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))


class _Block(nn.Module):
    """x += attn(ln_1(x));  x += mlp(ln_2(x))."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        W, eps = config.hidden_size, config.layer_norm_eps
        self.ln_1 = nn.LayerNorm(W, eps=eps)
        self.attn = _Attention(config)
        self.ln_2 = nn.LayerNorm(W, eps=eps)
        self.mlp = _MLP(config)

    def forward(self, x_INW: Tensor) -> Tensor:
        x_INW = x_INW + self.attn(self.ln_1(x_INW))
        x_INW = x_INW + self.mlp(self.ln_2(x_INW))
        return x_INW


class _Attention(nn.Module):
    """One fused, biased projection for queries, keys and values."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        W = config.hidden_size
        self.head_width = W // config.num_attention_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * W, W))
        nn.init.normal_(self.in_proj_weight, std=W**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * W))
        self.out_proj = nn.Linear(W, W)

    def forward(self, x_INW: Tensor) -> Tensor:
        qkv = F.linear(x_INW, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        x_INW = self.out_proj(join_heads(attend(*(split_heads(y, self.head_width) for y in qkv))))
        return x_INW


class _MLP(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.c_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x_INW: Tensor) -> Tensor:
        x_INW = self.c_proj(self.activation(self.c_fc(x_INW)))
        return x_INW


_LAYER = r"encoder.layers.\1."

HF_NAMES = (
    (r"\bclass_embedding$", "embeddings.class_embedding"),
    (r"\bpositional_embedding$", "embeddings.position_embedding.weight"),
    (r"\bconv1\.", "embeddings.patch_embedding."),
    (r"\bln_pre\.", "pre_layrnorm."),  # their spelling
    (r"\bln_post\.", "post_layernorm."),
    (r"\btransformer\.resblocks\.(\d+)\.attn\.", _LAYER + "self_attn."),
    (r"\btransformer\.resblocks\.(\d+)\.ln_([12])\.", _LAYER + r"layer_norm\2."),
    (r"\btransformer\.resblocks\.(\d+)\.mlp\.c_fc\.", _LAYER + "mlp.fc1."),
    (r"\btransformer\.resblocks\.(\d+)\.mlp\.c_proj\.", _LAYER + "mlp.fc2."),
)
"""Parameters by transformers' names, for a `KeyMap`; what stands before them stays."""

HF_SPLIT = (
    (
        r"\bself_attn\.in_proj_(weight|bias)$",
        (r"self_attn.q_proj.\1", r"self_attn.k_proj.\1", r"self_attn.v_proj.\1"),
    ),
)
"""The rows of the fused projection by transformers' names."""
