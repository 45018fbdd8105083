"""The whole model: pictures and token ids in, scores of the next token out.

Knows nothing of tokenizers, files or search.

Shapes: I pictures, B rows, T tokens, V latents of a picture, D their width, M text width,
R cache rows, S keys, Y vocabulary, Q tokens that go on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.attention import any_shape
from infimm_eval.flamingo.chunk import Chunk, SelfAttention
from infimm_eval.flamingo.fused_linear import FusedLinear
from infimm_eval.flamingo.gated import GatedBlocks
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.media import Media
from infimm_eval.flamingo.protocols import Decoder, Tower
from infimm_eval.flamingo.resampler import PerceiverResampler
from infimm_eval.flamingo.shown import Latents, Shown

CACHE_BYTES = 12 << 20
"""Of a processor's caches, as far as one layer of a tower may count on them."""
PATCH = 14
"""Pixels along a side of a patch in every published tower of the family."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids with a meaning.  Every `image` in a text stands for the next picture of the row;
    `end_of_chunk` has no meaning for the computation; an answer ends with any of `eos`."""

    image: int
    end_of_chunk: int
    eos: tuple[int, ...]
    pad: int | None = None
    end_is_spelled: bool = False
    """No file holds the output table's row of `end_of_chunk`: a model can only spell the mark."""


class Flamingo(nn.Module):
    """A decoder that sees pictures (Alayrac et al. 2022, arXiv:2204.14198): a tower and a resampler
    make latents of them, gated blocks between the decoder's layers let text attend to those.

    The parts come finished, from a builder of `layouts`; this class connects them.  `config` is
    what they were built from, for whoever saves the model.  `blind_decoding` repeats what Otter's
    own code does with a KV cache: an answer's tokens see no picture after the prompt was read.

    Three things belong to a row alone, whatever stands beside it in the batch: which pictures it
    has (`n_images_B`), whether its gated blocks act (their own rule, told which rows have a tag),
    and its positions, which count real tokens, so that left and right padding give the same
    numbers.
    """

    def __init__(
        self,
        tower: Tower,
        resampler: PerceiverResampler,
        gates: GatedBlocks,
        decoder: Decoder,
        *,
        tokens: SpecialTokens,
        config: Any = None,
        blind_decoding: bool = False,
    ) -> None:
        super().__init__()
        self.tower = tower
        self.resampler = resampler
        self.gates = gates
        self.decoder = decoder
        self.tokens = tokens
        self.config = config
        self.blind_decoding = blind_decoding

    @property
    def device(self) -> torch.device:
        """Where the weights are: all on one device."""
        return self.resampler.latents.device

    @property
    def dtype(self) -> torch.dtype:
        """The weights' number type."""
        return self.resampler.latents.dtype

    @any_shape()
    def encode_images(self, pixels_I3HW: Tensor) -> Tensor:
        """(I, 3, H, W) -> latents (I, V, D): once for each distinct picture."""
        if not len(pixels_I3HW):
            return self.resampler.latents.new_zeros(0, *self.resampler.latents.shape)
        few = torch.split(pixels_I3HW, self._pictures_at_a_time(pixels_I3HW.device))
        return torch.cat([self.resampler(self.tower(some_I3HW)) for some_I3HW in few])

    @any_shape()
    def see(self, pixels_I3HW: Tensor) -> Tensor:
        """The first half of `encode_images`: (I, 3, H, W) -> what the tower makes of them, for
        `resample` to be asked again when the resampler is another one."""
        few = torch.split(pixels_I3HW, self._pictures_at_a_time(pixels_I3HW.device))
        return torch.cat([self.tower(some_I3HW) for some_I3HW in few])

    @any_shape()
    def resample(self, seen_IND: Tensor) -> Tensor:
        """The second half: the tower's output -> latents (I, V, D)."""
        few = torch.split(seen_IND, self._pictures_at_a_time(seen_IND.device))
        return torch.cat([self.resampler(some_IND) for some_IND in few])

    def _pictures_at_a_time(self, device: torch.device) -> int:
        """All of them on an accelerator.  On a processor as many as keep a layer's widest
        activations, four times the width, in its cache: memory for more is slower than the
        arithmetic, and comes anew from the system with every layer."""
        if device.type != "cpu":
            return sys.maxsize
        tokens = max(1, self.tower.image_size // PATCH) ** 2
        return max(1, CACHE_BYTES // (4 * self.tower.width * tokens * self.dtype.itemsize))

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        latents_BIVD: Latents | None = None,
        n_images_B: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, Y), float32, for training and for checking; those of padding mean nothing.

        `mask_BT` is 1 for real tokens, on whichever side the padding is.  `latents_BIVD` are
        (B, I, V, D), or `Shown`; `n_images_B` says how many of the slots belong to each row, from
        the first; None means all of them.
        UsageError for more tokens than the model has positions.
        """
        return self.logits(self.hidden(ids_BT, mask_BT, latents_BIVD, n_images_B))

    def hidden(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor | None = None,
        latents_BIVD: Latents | None = None,
        n_images_B: Tensor | None = None,
    ) -> Tensor:
        """As `forward`, but the final hidden states (B, T, M): `logits` of a few save the rest."""
        B, T = ids_BT.shape
        if mask_BT is None:
            lengths_B = torch.full((B,), T, device=ids_BT.device)
            return self._run(ids_BT, lengths_B, latents_BIVD, n_images_B)
        order_BT, lengths_B = packing(mask_BT)
        x_BTM = self._run(ids_BT.gather(1, order_BT), lengths_B, latents_BIVD, n_images_B)
        back_BT = order_BT.argsort(dim=1)
        return x_BTM.gather(1, back_BT[..., None].expand_as(x_BTM))

    def logits(self, x_BTM: Tensor) -> Tensor:
        """Hidden states (..., M) -> (..., Y), float32."""
        return self.decoder.logits(x_BTM)

    def new_cache(self, rows: int, capacity: int) -> KVCache:
        """Room for `rows` sequences of `capacity` tokens, prompt and answer together."""
        media = self.gates.remembered(len(self.resampler.latents))
        return KVCache(self.decoder.kv, media, rows, capacity, device=self.device, dtype=self.dtype)

    def fuse(self) -> Flamingo:
        """Brings weights that are read together into one memory; for inference, where they stay."""
        for module in self.modules():
            if isinstance(module, FusedLinear):
                module.fuse()
        return self

    @torch.inference_mode()
    def prefill(
        self,
        cache: KVCache,
        ids_BT: Tensor,
        lengths: Sequence[int],
        latents_BIVD: Latents | None = None,
        n_images_B: Tensor | None = None,
        *,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Reads text with its pictures into `rows` of the cache (None: all); returns the logits
        after each row's last token, (B, Y).

        `ids_BT` is padded on the right, row b holding `lengths[b]` >= 1 real tokens.  A row that
        already holds text is continued, and until its first new tag sees the picture it saw last;
        the row's gated blocks then act on the new text if either part has a tag.
        """
        if min(lengths) < 1:
            raise ValueError("an empty sequence has no next token; begin it with one")
        to = list(range(len(cache))) if rows is None else list(rows)
        self.check_positions(max(cache.lengths[r] + n for r, n in zip(to, lengths, strict=True)))
        lengths_B = torch.tensor(lengths, device=ids_BT.device)
        x_B1M = self._run(ids_BT, lengths_B, latents_BIVD, n_images_B, cache, to)
        for r, n in zip(to, lengths, strict=True):
            cache.lengths[r] += n
        return self.logits(x_B1M.view(len(to), -1))

    @torch.inference_mode()
    def step(
        self,
        cache: KVCache,
        ids_RT: Tensor,
        positions_RT: Tensor | None = None,
        visible_RTS: Tensor | None = None,
    ) -> Tensor:
        """Adds T text tokens to every row of the cache; returns their logits (R, T, Y), float32."""
        return self.logits(self.extend(cache, ids_RT, positions_RT, visible_RTS))

    @torch.inference_mode()
    def extend(
        self,
        cache: KVCache,
        ids_RT: Tensor,
        positions_RT: Tensor | None = None,
        visible_RTS: Tensor | None = None,
    ) -> Tensor:
        """As `step`, but the final hidden states (R, T, M).

        Tokens fill the next T places of their row.  By default they continue its text in order.
        For a tree of continuations (beams, candidates) `positions_RT` says where in the text each
        token stands and `visible_RTS` which of the row's places it sees, itself included, S being
        the longest row with the new tokens.  Picture tags have no meaning here: use `prefill`.
        """
        T = ids_RT.shape[1]
        longest = max(cache.lengths) + T
        if positions_RT is None:
            self.check_positions(longest)
        with any_shape():
            x_RTM = self.extend_at(
                cache, ids_RT, cache.places(T), positions_RT, visible_RTS, keys=longest
            )
        cache.grow(T)
        return x_RTM

    def extend_at(
        self,
        cache: KVCache,
        ids_RT: Tensor,
        at_RT: Tensor,
        positions_RT: Tensor | None,
        visible_RTS: Tensor | None,
        *,
        keys: int,
    ) -> Tensor:
        """What `extend` computes, and nothing that it decides: tensors alone go in, tokens are
        written `at_RT` and see at most the first S = `keys` places.  For calls of one shape."""
        positions_RT = at_RT if positions_RT is None else positions_RT
        cache.set_positions(None, at_RT, positions_RT)
        if visible_RTS is None:
            visible_RTS = self._earlier(at_RT, keys)
        else:
            visible_RTS = self._within_window(cache, at_RT, positions_RT, visible_RTS)
        chunk = Chunk(
            positions_BT=positions_RT,
            flag_B11=self._flag(cache.flags_R),
            visible_BTS=visible_RTS,
            cache=cache,
            at_BT=at_RT,
            keys=keys,
        )
        return self._through(ids_RT, chunk)

    def _through(self, ids_BT: Tensor, chunk: Chunk) -> Tensor:
        """The decoder's layers with the gated blocks between them: (B, T) -> (B, Q, M), Q being
        the chunk's wanted token of each row or all."""
        decoder = self.decoder
        x_BTM = decoder.embed(ids_BT)
        rotation = decoder.rotation(chunk.positions_BT, x_BTM.dtype)
        attention = SelfAttention(decoder, chunk, x_BTM.dtype)
        gates = 0
        for i, layer in enumerate(decoder.layers):
            if str(i) in self.gates:
                x_BTM = self._look(gates, self.gates[str(i)], x_BTM, chunk)
                gates += 1
            x_BTM = layer(x_BTM, rotation, attention.of(i))
        return decoder.norm(x_BTM)

    def _look(self, gate: int, block: nn.Module, x_BTM: Tensor, chunk: Chunk) -> Tensor:
        """Through a gated block, which is told what the rows saw and says what they see now."""
        cache, media = chunk.cache, chunk.media
        fresh = media is not None and media.fresh
        seen = None if cache is None or fresh else cache.seen(gate, chunk.rows)
        x_BTM, seen = block(x_BTM, chunk.flag_B11, seen, media)
        if cache is not None and media is not None:
            cache.see(gate, chunk.rows, seen)
        return x_BTM

    def _flag(self, tagged_B: Tensor) -> Tensor:
        """1 where the gated blocks act, (B, 1, 1)."""
        return self.gates.acting(tagged_B)[:, None, None]

    @any_shape()
    def _run(
        self,
        ids_BT: Tensor,
        lengths_B: Tensor,
        latents_BIVD: Latents | None,
        n_images_B: Tensor | None,
        cache: KVCache | None = None,
        rows: Sequence[int] | None = None,
    ) -> Tensor:
        """Right-padded text with its pictures -> hidden states (B, T, M); into a cache, where
        later text reads keys and values, only each row's last, (B, 1, M)."""
        B, T = ids_BT.shape
        place_BT = torch.arange(T, device=ids_BT.device).expand(B, T)
        tags_BT = (ids_BT == self.tokens.image) & (place_BT < lengths_B[:, None])
        tagged_B = tags_BT.any(dim=1).to(self.dtype)
        before = [cache.lengths[r] for r in rows or ()] if cache else []
        media = self._media(tags_BT, lengths_B, latents_BIVD, n_images_B, fresh=not any(before))
        if cache is None or rows is None:
            self.check_positions(T)
            chunk = Chunk(place_BT, self._flag(tagged_B), self._window(place_BT), media)
        else:
            chunk = self._cached_chunk(cache, rows, before, place_BT, tagged_B, media, lengths_B)
        return self._through(ids_BT, chunk)

    def _cached_chunk(
        self,
        cache: KVCache,
        rows: Sequence[int],
        before: Sequence[int],
        place_BT: Tensor,
        tagged_B: Tensor,
        media: Media,
        lengths_B: Tensor,
    ) -> Chunk:
        end = max(before) + place_BT.shape[1]
        if end > cache.capacity:
            raise ValueError(f"{end} tokens do not fit into a cache of {cache.capacity}")
        index = torch.tensor(rows, device=place_BT.device)
        tagged_B = torch.maximum(tagged_B, cache.flags_R[index])
        cache.flags_R[index] = tagged_B
        place_BT = place_BT + torch.tensor(before, device=place_BT.device)[:, None]
        cache.set_positions(index, place_BT, place_BT)
        keys = end if any(before) else 0
        visible = self._earlier(place_BT, keys) if keys else self._window(place_BT)
        flag_B11 = self._flag(tagged_B)
        last_B = lengths_B - 1
        return Chunk(place_BT, flag_B11, visible, media, cache, index, place_BT, keys, last_B)

    def _media(
        self,
        tags_BT: Tensor,
        lengths_B: Tensor,
        latents_BIVD: Latents | None,
        n_images_B: Tensor | None,
        *,
        fresh: bool,
    ) -> Media:
        B = len(tags_BT)
        none = self.resampler.latents.expand(B, 0, -1, -1)
        shown = Shown.of(none if latents_BIVD is None else latents_BIVD)
        if n_images_B is None:
            n_images_B = torch.full((B,), shown.slots, device=tags_BT.device)
        return Media.of(shown, tags_BT, lengths_B, n_images_B, fresh=fresh)

    def _earlier(self, place_BT: Tensor, keys: int) -> Tensor:
        """(B, T, S): a token sees itself and what stands before it, within the window."""
        back_BTS = place_BT[..., None] - torch.arange(keys, device=place_BT.device)
        window = self.decoder.sliding_window
        visible_BTS = back_BTS >= 0
        return visible_BTS if window is None else visible_BTS & (back_BTS < window)

    def _window(self, place_BT: Tensor) -> Tensor | None:
        """None, plain causal attention, unless the text is longer than the sliding window."""
        T, window = place_BT.shape[1], self.decoder.sliding_window
        return None if window is None or window >= T else self._earlier(place_BT[:1], T)

    def _within_window(
        self, cache: KVCache, at_RT: Tensor, positions_RT: Tensor, visible_RTS: Tensor
    ) -> Tensor:
        """What of it the sliding window leaves, by positions in the text; itself always, so that
        rows that mean nothing stay numbers."""
        S, window = visible_RTS.shape[-1], self.decoder.sliding_window
        if window is None or window >= S:
            return visible_RTS
        back_RTS = positions_RT[..., None] - cache.positions(None, S)[:, None]
        itself_RTS = at_RT[..., None] == torch.arange(S, device=at_RT.device)
        return visible_RTS & (back_RTS < window) | itself_RTS

    def check_positions(self, tokens: int) -> None:
        """UsageError if the model has fewer positions than a text of so many tokens needs."""
        limit = self.decoder.context_length
        if tokens > limit:
            raise UsageError(
                f"{tokens} tokens, prompt and answer together, exceed the model's {limit} "
                "positions; shorten either"
            )


def packing(mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The order that brings each row's real tokens to its front, (B, T), and how many, (B,)."""
    real_BT = mask_BT.bool()
    return real_BT.logical_not().int().argsort(dim=1, stable=True), real_BT.sum(dim=1)


def gather_pictures(latents_PVD: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Latents of P distinct pictures, and for each row the indices of its pictures in the order of
    its tags -> `latents_BIVD`, padded with zeros, and `n_images_B` as `forward`, `generate` and
    `rank` take them."""
    device = latents_PVD.device
    widest = max((len(row) for row in rows), default=0)
    latents_BIVD = latents_PVD.new_zeros(len(rows), widest, *latents_PVD.shape[1:])
    for place, row in enumerate(rows):
        latents_BIVD[place, : len(row)] = latents_PVD[list(row)]
    return latents_BIVD, torch.tensor([len(row) for row in rows], device=device)
