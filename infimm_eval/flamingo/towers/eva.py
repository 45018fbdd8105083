"""EVA-CLIP vision towers (Sun et al. 2023, arXiv:2303.15389; EVA-02, arXiv:2303.11331).

Knows nothing of text or of the resampler: pixels in, the raw tokens of the last block out.

Shapes: I pictures, N tokens (CLS first, then patches row by row), W width, H heads, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.flamingo.attention import attend, join_heads, split_heads
from infimm_eval.flamingo.kernels import swiglu
from infimm_eval.flamingo.patches import embed_patches
from infimm_eval.flamingo.section import FromZero, Number, Section, Size, Switch

EPS = 1e-6
ALIGNED = 8  # numbers of two bytes


@dataclass(frozen=True)
class EvaConfig(Section):
    """An EVA-CLIP vision tower, under the names of the original `visual` section.

    The three published towers: EVA02-L (`rope`, `naiveswiglu`, `subln`), EVA01-g (none of them)
    and EVA02-E (`postnorm`).  `patch_dropout`, `drop_path_rate`, `xattn`, `fusedLN` and
    `eva_model_name` are kept but change no number at inference.
    """

    image_size: Size
    layers: Size
    width: Size
    patch_size: Size
    head_width: Size = 64
    mlp_ratio: Number = 4.0
    rope: Switch = False
    pt_hw_seq_len: Size = 16
    intp_freq: Switch = False
    naiveswiglu: Switch = False
    subln: Switch = False
    postnorm: Switch = False
    qkv_bias: Switch = True
    ls_init_value: float | None = None
    global_average_pool: Switch = False
    embed_dim: FromZero = 1024

    _PLACE = "'visual'"
    _IGNORED = frozenset({"patch_dropout", "drop_path_rate", "xattn", "fusedLN", "eva_model_name"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.head_width or self.image_size % self.patch_size:
            raise self.error(
                f"needs width divisible by head_width and image_size by "
                f"patch_size, not {self.width}/{self.head_width}, "
                f"{self.image_size}/{self.patch_size}"
            )
        if self.rope and not self.intp_freq and self.grid != self.pt_hw_seq_len:
            raise self.error(
                f"has rope for a grid of {self.pt_hw_seq_len} and pictures "
                f"of {self.grid} patches a side; set intp_freq"
            )
        if self.rope and self.head_width % 4:
            raise self.error(
                f"has rope and head_width {self.head_width}, not a multiple "
                "of 4: pairs that turn with the row and as many that turn with the column"
            )
        if self.ls_init_value or self.global_average_pool or not self.qkv_bias:
            raise self.error(
                "asks for layer scale, average pooling or attention without "
                "biases; no published tower has them and this code does not either"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.image_size // self.patch_size

    @property
    def heads(self) -> int:
        """H."""
        return self.width // self.head_width

    @property
    def hidden(self) -> int:
        """Inner width of the MLP."""
        return int(self.width * self.mlp_ratio)


class EvaTower(nn.Module):
    """Returns what InfiMM's resampler is fed: the last block's output, CLS kept, no final norm.

    `norm` and `head` belong to CLIP's embedding; checkpoints hold them, nothing here uses them.
    """

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.config = config
        W = config.width
        self.patch_embed = _PatchEmbed(W, config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, W))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.grid**2, W))
        nn.init.normal_(self.pos_embed, std=0.02)
        self.rope = RotaryTable(config) if config.rope else None
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(W, eps=EPS)
        self.head = nn.Linear(W, config.embed_dim) if config.embed_dim else nn.Identity()

    @property
    def width(self) -> int:
        """W, of every token."""
        return self.config.width

    @property
    def image_size(self) -> int:
        """Pixels along a side."""
        return self.config.image_size

    def forward(self, pixels_I3HW: Tensor) -> Tensor:
        """(I, 3, image_size, image_size) -> (I, N, W).  ValueError for pictures of another size."""
        size = self.config.image_size
        if pixels_I3HW.shape[1:] != (3, size, size):
            raise ValueError(f"pictures of {tuple(pixels_I3HW.shape[1:])}, not (3, {size}, {size})")
        patches_IPW = self.patch_embed(pixels_I3HW)
        x_INW = torch.cat([self.cls_token.expand(len(patches_IPW), -1, -1), patches_IPW], dim=1)
        x_INW = x_INW + self.pos_embed
        turn_Nf = None if self.rope is None else self.rope()
        for block in self.blocks:
            x_INW = block(x_INW, turn_Nf)
        return x_INW


class RotaryTable(nn.Module):
    """Two-dimensional rotary angles of the patches: half of the head turns with the row index,
    half with the column.  Kept as buffers because checkpoints store them, possibly rounded.
    """

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        device = torch.get_default_device()
        with torch.device("cpu"):  # on the meta device arithmetic makes torch import its compiler
            cos_Pd, sin_Pd = rotary_tables(config)
        self.register_buffer("freqs_cos", cos_Pd.to(device))
        self.register_buffer("freqs_sin", sin_Pd.to(device))

    def forward(self) -> Tensor:
        """cos + i sin of every token, (N, d / 2), complex; CLS is not turned."""
        turn_Pf = torch.complex(self.freqs_cos[:, ::2].float(), self.freqs_sin[:, ::2].float())
        return torch.cat([torch.ones_like(turn_Pf[:1]), turn_Pf])


def rotate(x_INW: Tensor, turn_Nf: Tensor) -> Tensor:
    """Turns neighbours (x0, x1) -> (x0 cos - x1 sin, x1 cos + x0 sin): a complex product."""
    pairs_INHf2 = x_INW.float().unflatten(-1, (-1, turn_Nf.shape[1], 2))  # type: ignore[no-untyped-call]
    turned_INHf = torch.view_as_complex(pairs_INHf2) * turn_Nf[:, None]
    return torch.view_as_real(turned_INHf).flatten(2).to(x_INW.dtype)


def rotary_tables(config: EvaConfig) -> tuple[Tensor, Tensor]:
    """cos and sin, each (grid^2, head_width), float32.

    Frequencies 10000^(-2i / half), each used for one pair; positions are stretched so that the
    grid spans `pt_hw_seq_len` steps, the grid of pretraining.
    """
    half, grid = config.head_width // 2, config.grid
    frequency_f = 1.0 / 10000 ** (torch.arange(0, half, 2)[: half // 2].float() / half)
    position_G = torch.arange(grid) / grid * config.pt_hw_seq_len
    angle_Gh = torch.outer(position_G, frequency_f).repeat_interleave(2, dim=-1)
    rows = angle_Gh[:, None].expand(-1, grid, -1)
    columns = angle_Gh[None].expand(grid, -1, -1)
    angle_Pd = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    return angle_Pd.cos(), angle_Pd.sin()


class _PatchEmbed(nn.Module):
    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels_I3HW: Tensor) -> Tensor:
        """(I, 3, S, S) -> (I, P, W)."""
        return embed_patches(pixels_I3HW, self.proj.weight, self.proj.bias)


class _Block(nn.Module):
    """Pre-norm: x + f(norm(x)).  With `postnorm`, on the branch instead: x + norm(f(x))."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.postnorm = config.postnorm
        self.norm1 = nn.LayerNorm(config.width, eps=EPS)
        self.attn = _Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=EPS)
        self.mlp = _SwiGLU(config) if config.naiveswiglu else _GeluMLP(config)

    def forward(self, x_INW: Tensor, turn_Nf: Tensor | None) -> Tensor:
        if self.postnorm:
            x_INW = x_INW + self.norm1(self.attn(x_INW, turn_Nf))
            x_INW = x_INW + self.norm2(self.mlp(x_INW))
        else:
            x_INW = x_INW + self.attn(self.norm1(x_INW), turn_Nf)
            x_INW = x_INW + self.mlp(self.norm2(x_INW))
        return x_INW


class _Attention(nn.Module):
    """Biases on queries and values, none on keys.  With `subln` three separate projections and
    a LayerNorm over the joined heads, otherwise one fused projection.
    """

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        W = config.width
        self.head_width = config.head_width
        self.subln = config.subln
        if config.subln:
            self.q_proj = nn.Linear(W, W, bias=False)
            self.k_proj = nn.Linear(W, W, bias=False)
            self.v_proj = nn.Linear(W, W, bias=False)
        else:
            self.qkv = nn.Linear(W, 3 * W, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(W))
        self.v_bias = nn.Parameter(torch.zeros(W))
        self.inner_attn_ln = nn.LayerNorm(W, eps=EPS) if config.subln else nn.Identity()
        self.proj = nn.Linear(W, W)

    def forward(self, x_INW: Tensor, turn_Nf: Tensor | None) -> Tensor:
        q_INW, k_INW, v_INW = self._project(x_INW)
        if turn_Nf is not None:
            q_INW, k_INW = rotate(q_INW, turn_Nf), rotate(k_INW, turn_Nf)
        q_IHNd, k_IHNd, v_IHNd = (split_heads(y, self.head_width) for y in (q_INW, k_INW, v_INW))
        x_INW = join_heads(attend(q_IHNd, k_IHNd, v_IHNd))
        x_INW = self.proj(self.inner_attn_ln(x_INW))
        return x_INW

    def _project(self, x_INW: Tensor) -> tuple[Tensor, ...]:
        if self.subln:
            q_INW = F.linear(x_INW, self.q_proj.weight, self.q_bias)
            v_INW = F.linear(x_INW, self.v_proj.weight, self.v_bias)
            return q_INW, self.k_proj(x_INW), v_INW
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return F.linear(x_INW, self.qkv.weight, bias).chunk(3, dim=-1)


class _SwiGLU(nn.Module):
    """w3 norm(silu(w1 x) * w2 x)."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.width, config.hidden)
        self.w2 = nn.Linear(config.width, config.hidden)
        self.ffn_ln = nn.LayerNorm(config.hidden, eps=EPS) if config.subln else nn.Identity()
        self.w3 = nn.Linear(config.hidden, config.width)

    def forward(self, x_INW: Tensor) -> Tensor:
        spare = -self.w1.out_features % ALIGNED if x_INW.is_cuda else 0
        return self.padded(x_INW, spare) if spare else self.plain(x_INW)

    def plain(self, x_INW: Tensor) -> Tensor:
        x_INW = self.w3(self.ffn_ln(swiglu(self.w1(x_INW), self.w2(x_INW))))
        return x_INW

    def padded(self, x_INW: Tensor, spare: int) -> Tensor:
        """The same with some hidden zeros: accelerators multiply matrices faster where rows begin
        at multiples of 16 bytes, which those of EVA-02's 2,730 columns do not.  With them a picture
        took an H100 1.75 ms, without 2.27 (16 at once, 336 px, bfloat16)."""
        gate_INh, up_INh = (
            F.linear(x_INW, F.pad(w.weight, (0, 0, 0, spare)), F.pad(w.bias, (0, spare)))
            for w in (self.w1, self.w2)
        )
        hidden_INh = self.ffn_ln(swiglu(gate_INh, up_INh)[..., :-spare])
        w3 = F.pad(self.w3.weight, (0, spare))
        return F.linear(F.pad(hidden_INh, (0, spare)), w3, self.w3.bias)


class _GeluMLP(nn.Module):
    """fc2 norm(gelu(fc1 x)), the exact (erf) GELU."""

    def __init__(self, config: EvaConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.hidden)
        # The original leaves this one norm at LayerNorm's own eps; no published tower has it.
        self.ffn_ln = nn.LayerNorm(config.hidden, eps=1e-5) if config.subln else nn.Identity()
        self.fc2 = nn.Linear(config.hidden, config.width)

    def forward(self, x_INW: Tensor) -> Tensor:
        x_INW = self.fc2(self.ffn_ln(F.gelu(self.fc1(x_INW))))
        return x_INW
