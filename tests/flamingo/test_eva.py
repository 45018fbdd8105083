"""The towers against timm's Eva, an independent implementation of the same papers."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.towers.eva import EvaConfig, EvaTower
from tests.flamingo.small import TOWERS, layout, small

timm_eva = pytest.importorskip("timm.models.eva", reason="the package timm is not installed")

RENAMED = {
    r"mlp\.w1\.": "mlp.fc1_g.",
    r"mlp\.w2\.": "mlp.fc1_x.",
    r"mlp\.w3\.": "mlp.fc2.",
    r"mlp\.ffn_ln\.": "mlp.norm.",
    r"attn\.inner_attn_ln\.": "attn.norm.",
}
SEPARATE = {r"attn\.q_bias$": "attn.q_proj.bias", r"attn\.v_bias$": "attn.v_proj.bias"}
STYLES: dict[str, dict[str, Any]] = {
    "L": {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True,
          "use_rot_pos_emb": True, "ref_feat_shape": (16, 16), "rope_type": "cat",
          "rope_grid_indexing": "ij", "rope_grid_offset": 0.0, "rope_temperature": 10000.0,
          "rope_rotate_half": False},
    "g": {},
    "E": {"use_post_norm": True},
}  # fmt: skip


def tower(style: str, **changes: Any) -> EvaTower:
    torch.manual_seed(3)
    visual = layout(style)["visual"] | {"image_size": 56, "layers": 3} | changes
    made = EvaTower(EvaConfig.from_dict(visual)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def in_timm(ours: EvaTower, style: str) -> nn.Module:
    config = ours.config
    theirs = timm_eva.Eva(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.layers,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        num_classes=config.embed_dim,
        global_pool="token",
        **STYLES[style],
    ).eval()
    renamed = RENAMED | (SEPARATE if config.subln else {})
    state: dict[str, Tensor] = {}
    for key, value in ours.state_dict().items():
        if not key.startswith("rope."):
            for pattern, name in renamed.items():
                key = re.sub(pattern, name, key)
            state[key] = value
    theirs.load_state_dict(state)
    theirs.norm = nn.Identity()
    return theirs


@pytest.mark.parametrize("style", TOWERS)
def test_a_tower_equals_timms(style: str) -> None:
    ours = tower(style)
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = in_timm(ours, style).forward_features(pixels)
        torch.testing.assert_close(ours(pixels), theirs, atol=2e-5, rtol=0)


def test_rope_in_a_tower_with_fused_projection_acts_on_its_queries_and_keys_too() -> None:
    turning, still = (
        tower("g", width=48, head_width=16, rope=rope, intp_freq=True) for rope in (True, False)
    )
    still.load_state_dict({k: v for k, v in turning.state_dict().items() if "rope" not in k})
    pixels = torch.randn(1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert (turning(pixels) - still(pixels)).abs().max() > 1e-3


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 28, 28\), not \(3, 56, 56\)"):
        tower("g")(torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope": True, "head_width": 22}, "set intp_freq"),
        ({"ls_init_value": 0.1}, "layer scale"),
        ({"qkv_bias": False}, "without biases"),
        ({"head_width": 10}, "divisible"),
        ({"patchsize": 14}, "did you mean 'patch_size'"),
    ],
)
def test_a_tower_that_is_not_built_here_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvaConfig.from_dict(layout("g")["visual"] | change)


def test_an_absent_size_is_named() -> None:
    with pytest.raises(UsageError, match="'visual' lacks image_size, width"):
        EvaConfig.from_dict({"layers": 2, "patch_size": 14})


def test_hidden_zeros_change_nothing() -> None:
    model = small("L")
    mlp: Any = model.tower.blocks[0].mlp
    x_INW = torch.randn(2, 5, model.tower.width)
    with torch.no_grad():
        torch.testing.assert_close(mlp.padded(x_INW, 3), mlp.plain(x_INW), atol=1e-6, rtol=0)
