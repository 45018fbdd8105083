"""A Flamingo computed as the released codes do it, on the weights of one of ours: the other side of
a benchmark.

Knows no family: decoder and gated blocks are asked layer by layer, as those codes wrap them.

Pictures are encoded for every beam, all of them are projected again in every gated block at every
step, keys and values grow by concatenation and move with their beams, attention is written out,
and a prompt's every position is scored.  Rows are of one length and every token counts.

Shapes: R rows, beams included, T tokens, S keys, I pictures, V latents, M width, Y vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from infimm_eval.flamingo import Flamingo


@torch.inference_mode()
def generate(model: Flamingo, pixels_BI3HW: Tensor, ids_BT: Tensor, new: int, beams: int) -> Tensor:
    """The best continuation of `new` tokens of every prompt, special ones left out: (B, new)."""
    if beams > 1:
        pixels_BI3HW = pixels_BI3HW.repeat_interleave(beams, dim=0)
        ids_BT = ids_BT.repeat_interleave(beams, dim=0)
    latents = model.encode_images(pixels_BI3HW.flatten(0, 1))
    state = _State(model, latents.unflatten(0, pixels_BI3HW.shape[:2]))
    logits_RY = state.read(ids_BT)[:, -1]
    total_RK = torch.zeros(len(ids_BT) // beams, beams, device=ids_BT.device)
    total_RK[:, 1:] = -1e9
    said_RN = ids_BT[:, :0]
    banned = [model.tokens.image, model.tokens.end_of_chunk, *model.tokens.eos]
    for step in range(new):
        scores_RY = logits_RY.log_softmax(-1).index_fill(
            -1, torch.tensor(banned, device=ids_BT.device), -torch.inf
        )
        words = scores_RY.shape[-1]
        all_BKY = (total_RK.view(-1, 1) + scores_RY).view(-1, beams * words)
        total_RK, best_BK = all_BKY.topk(beams, dim=-1)
        first_B1 = torch.arange(len(best_BK), device=ids_BT.device)[:, None] * beams
        of_R = (first_B1 + best_BK // words).flatten()
        token_R1 = (best_BK % words).view(-1, 1)
        said_RN = torch.cat([said_RN[of_R], token_R1], dim=1)
        if step + 1 < new:
            if beams > 1:
                state.move(of_R)
            logits_RY = state.read(token_R1)[:, -1]
    return said_RN[::beams]


@dataclass
class _State:
    """What the released codes keep between steps."""

    model: Flamingo
    latents_RIVD: Tensor
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    seen_R1: Tensor | None = None
    length: int = 0

    def read(self, ids_RT: Tensor) -> Tensor:
        """The next tokens of every row: their logits, (R, T, Y)."""
        decoder = self.model.decoder
        R, T = ids_RT.shape
        at_RT = torch.arange(self.length, self.length + T, device=ids_RT.device).expand(R, T)
        self.length += T
        tags_RT = (ids_RT == self.model.tokens.image).cumsum(1)
        if self.seen_R1 is None:
            self.seen_R1 = tags_RT[:, -1:]
        else:  # text after the prompt sees the last picture
            tags_RT = self.seen_R1.expand(R, T)
        x_RTM = decoder.embed(ids_RT)
        rotation = decoder.rotation(at_RT, x_RTM.dtype)
        for i, layer in enumerate(decoder.layers):
            if str(i) in self.model.gates:
                x_RTM = self._look(self.model.gates[str(i)], x_RTM, tags_RT)

            x_RTM = layer(x_RTM, rotation, _LayerAttention(self, i, at_RT))
        return decoder.logits(decoder.norm(x_RTM))

    def move(self, of_R: Tensor) -> None:
        """Rows go where their beams go."""
        for kept in (self.keys, self.values):
            for i, layer in kept.items():
                kept[i] = layer[of_R]

    def attend(self, i: int, at_RT: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if i in self.keys:
            k, v = torch.cat([self.keys[i], k], dim=2), torch.cat([self.values[i], v], dim=2)
        self.keys[i], self.values[i] = k, v
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        place_RS = torch.arange(k.shape[2], device=k.device).expand(len(k), -1)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        if (bias := self.model.decoder.position_bias) is not None:
            scores = scores + bias(at_RT, place_RS)
        scores = scores.masked_fill(place_RS[:, None, None] > at_RT[:, None, :, None], -torch.inf)
        return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v

    def _look(self, block: Any, x_RTM: Tensor, tags_RT: Tensor) -> Tensor:
        attn = block.attn
        images = self.latents_RIVD.shape[1]
        kv_RIV2hd = attn.project(self.latents_RIVD)
        k, v = (t.flatten(1, 2).transpose(1, 2) for t in kv_RIV2hd.unbind(3))
        q = attn.to_q(attn.norm(x_RTM)).unflatten(-1, (-1, attn.dim_head)).transpose(1, 2)
        scores = q @ k.transpose(2, 3) / attn.dim_head**0.5
        slot_I = torch.arange(1, images + 1, device=k.device)
        open_RTS = (tags_RT[..., None] == slot_I).repeat_interleave(kv_RIV2hd.shape[2], dim=-1)
        scores = scores.masked_fill(~open_RTS[:, None], torch.finfo(scores.dtype).min)
        out = (scores.softmax(-1) * (tags_RT > 0)[:, None, :, None]) @ v
        x_RTM = x_RTM + block.attn_gate.tanh() * attn.to_out(out.transpose(1, 2).flatten(2))
        return x_RTM + block.ff_gate.tanh() * block.ff(x_RTM)


@dataclass
class _LayerAttention:
    """Every token goes on through every layer there."""

    state: _State
    layer: int
    at_RT: Tensor

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.state.attend(self.layer, self.at_RT, q, k, v)

    def going_on(self, x_RTM: Tensor) -> Tensor:
        return x_RTM
