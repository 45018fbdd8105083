"""A family that nobody published: a tower, a decoder and a layout of their own, put beside those of
the package without touching it.

The decoder has what InfiMM's has not: an additive position bias on grouped heads, a norm over whole
queries and keys, attention and feed-forward side by side, a tied output table; its gated blocks
act on every row.  `plain_logits` computes the same model again in the plainest way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infimm_eval.flamingo import Flamingo, Layout, SpecialTokens
from infimm_eval.flamingo.attention import join_heads, split_heads
from infimm_eval.flamingo.gated import GatedBlock, GatedBlocks, GatedConfig, on_every_row
from infimm_eval.flamingo.key_map import KeyMap
from infimm_eval.flamingo.kv_cache import KVShape
from infimm_eval.flamingo.protocols import Attend
from infimm_eval.flamingo.resampler import PerceiverResampler, ResamplerConfig
from infimm_eval.flamingo.section import Section, Size, SomeSize
from infimm_eval.flamingo.templates import ChatFormats, Template

IMAGE, EOC = 58, 59


class Eye(nn.Module):
    """Four visual tokens: the quarters of a picture, each as one linear layer sees it."""

    image_size = 8
    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Linear(3 * 4 * 4, self.width)

    def forward(self, pixels_I3HW: Tensor) -> Tensor:
        quarters = F.unfold(pixels_I3HW, kernel_size=4, stride=4)
        return self.look(quarters.transpose(1, 2)).tanh()


@dataclass(frozen=True)
class Config(Section):
    """All of it in one section."""

    model_type: str
    blocks: Size
    width: Size = 24
    heads: Size = 4
    key_heads: Size = 2
    reach: SomeSize = None
    resampler: ResamplerConfig = field(
        default_factory=lambda: ResamplerConfig(heads=2, dim_head=6, depth=1, latents=3)
    )
    gated: GatedConfig = field(default_factory=lambda: GatedConfig(heads=2, dim_head=5))


class Reader(nn.Module):
    """A decoder whose heads lean back by a bias of their own: -slope * distance."""

    vocab_size = 60
    context_length = 48
    ff_width = 40

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.width, self.heads = config.width, config.heads
        self.sliding_window = config.reach
        self.kv = KVShape(config.blocks, config.key_heads, config.width // config.heads)
        self.table = nn.Parameter(torch.randn(self.vocab_size, config.width) / 4)
        self.layers = nn.ModuleList(Layer(self) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)

    def embed(self, ids_BT: Tensor) -> Tensor:
        return F.embedding(ids_BT, self.table)

    def rotation(self, positions_BT: Tensor, dtype: torch.dtype) -> None:
        return None

    def position_bias(self, query_BT: Tensor, key_BS: Tensor) -> Tensor:
        slope_H11 = 0.5 ** torch.arange(self.heads)[:, None, None]
        return -slope_H11 * (query_BT[:, None, :, None] - key_BS[:, None, None, :])

    def logits(self, x_BTM: Tensor) -> Tensor:
        return F.linear(x_BTM, self.table).float()


class Layer(nn.Module):
    """x + attention(norm x) + feed-forward(norm x)."""

    def __init__(self, of: Reader) -> None:
        super().__init__()
        M, d = of.width, of.kv.head_width
        self.d = d
        self.before = nn.LayerNorm(M)
        self.ask = nn.Linear(M, M)
        self.tell = nn.Linear(M, 2 * of.kv.heads * d, bias=False)
        self.ask_norm, self.tell_norm = nn.LayerNorm(M), nn.LayerNorm(of.kv.heads * d)
        self.out = nn.Linear(M, M)
        self.think = nn.Sequential(nn.Linear(M, of.ff_width), nn.GELU(), nn.Linear(of.ff_width, M))

    def project(self, x_BTM: Tensor) -> list[Tensor]:
        k, v = self.tell(x_BTM).chunk(2, dim=-1)
        wide = self.ask_norm(self.ask(x_BTM)), self.tell_norm(k), v
        return [split_heads(y, self.d) for y in wide]

    def forward(self, x_BTM: Tensor, rotation: Any, attend: Attend) -> Tensor:
        assert rotation is None
        y_BTM = self.before(x_BTM)
        attended = self.out(join_heads(attend(*self.project(y_BTM))))
        return attend.going_on(x_BTM) + attended + self.think(attend.going_on(y_BTM))


def build(config: Config) -> Flamingo:
    eye, reader = Eye(), Reader(config)
    resampler = PerceiverResampler(eye.width, config.resampler)
    every = range(config.blocks)
    gates = GatedBlocks(every, reader.width, eye.width, config.gated, on_every_row)
    tokens = SpecialTokens(image=IMAGE, end_of_chunk=EOC, eos=(EOC,))
    return Flamingo(eye, resampler, gates, reader, tokens=tokens, config=config)


LAYOUT = Layout(
    claims=lambda config: config.get("model_type") == "made-up",
    read=Config.from_dict,
    build=build,
    keys=KeyMap(
        names=(
            (r"^tower\.", "eye."),
            (r"^gates\.(\d+)\.", r"reader.\1.gate."),
            (r"^decoder\.layers\.", "reader."),
            (r"^decoder\.table$", "words"),
            (r"^decoder\.", "reader.end."),
        ),
        split=((r"\.tell\.weight$", (".keys.weight", ".values.weight")),),
        aliases=((r"^module\.", ""), (r"^reader\.blocks\.", "reader.")),
        ignored=(r"\.mask$",),
        tied={"head.weight": "words"},
    ),
    chat=ChatFormats(
        {"shout": Template(lambda system, turns: iter([f"{len(turns)} said"]))}, otherwise="shout"
    ),
)


def made_up(**config: Any) -> Flamingo:
    """Random weights, every part of which counts."""
    torch.manual_seed(1)
    model = build(Config.from_dict({"model_type": "made-up", "blocks": 3} | config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(0.7)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif name.startswith("decoder.layers"):
                parameter.normal_(0, 0.4)
    return model


@torch.no_grad()
def plain_logits(model: Flamingo, ids: list[int], pictures: Tensor) -> Tensor:
    """One text without padding, read at once, every matrix whole: logits (T, Y)."""
    reader: Any = model.decoder
    T = len(ids)
    x_TM = reader.table[torch.tensor(ids)]
    seen = torch.tensor([ids[: t + 1].count(IMAGE) for t in range(T)])
    at = torch.arange(T)
    back_TT = at[:, None] - at
    hidden = (back_TT < 0) | (back_TT >= (reader.sliding_window or T))
    for layer, gate in zip(reader.layers, model.gates.values(), strict=True):
        x_TM = _plain_gate(gate, x_TM, seen, pictures)
        y_TM = layer.before(x_TM)
        q_HTd, k_GTd, v_GTd = (y[0] for y in layer.project(y_TM[None]))
        heads = []
        for h, q_Td in enumerate(q_HTd):
            g = h * len(k_GTd) // len(q_HTd)
            scores = q_Td @ k_GTd[g].T / layer.d**0.5 - 0.5**h * back_TT
            heads.append(scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v_GTd[g])
        x_TM = x_TM + layer.out(torch.cat(heads, -1)) + layer.think(y_TM)
    return reader.norm(x_TM) @ reader.table.T


def _plain_gate(gate: GatedBlock, x_TM: Tensor, seen: Tensor, pictures_IVD: Tensor) -> Tensor:
    attn, rows = gate.attn, []
    queries = attn.to_q(attn.norm(x_TM)).unflatten(-1, (-1, attn.dim_head))
    for q_hd, n in zip(queries, seen.tolist(), strict=True):
        if n == 0:
            rows.append(torch.zeros(queries[0].numel()))
            continue
        k_Vhd, v_Vhd = attn.project(pictures_IVD[None, None, n - 1])[0, 0].unbind(1)
        scores_hV = torch.einsum("hd,vhd->hv", q_hd, k_Vhd) / attn.dim_head**0.5
        rows.append(torch.einsum("hv,vhd->hd", scores_hV.softmax(-1), v_Vhd).flatten())
    x_TM = x_TM + gate.attn_gate.tanh() * attn.to_out(torch.stack(rows))
    return x_TM + gate.ff_gate.tanh() * gate.ff(x_TM)


def config_of(**changes: Any) -> Mapping[str, Any]:
    """A `config.json` of this layout."""
    return {"model_type": "made-up", "blocks": 3} | changes
