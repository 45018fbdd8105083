"""Prompts on their way into a cache: checked, freed of padding, their known beginnings copied.

Knows nothing of what is decoded afterwards.

Shapes: B prompts, T tokens, I pictures, V latents, D their width, R cache rows, Y vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from infimm_eval.errors import UsageError
from infimm_eval.flamingo.kv_cache import KVCache
from infimm_eval.flamingo.model import Flamingo, packing
from infimm_eval.flamingo.shown import Latents, Shown


def check_batch(
    lengths: Sequence[int],
    latents_BIVD: Latents | None,
    n_images_B: Tensor | None,
    prefixes: Sequence[KVCache | None],
) -> None:
    """UsageError where a batch's parts do not belong together, or a prompt is empty."""
    B = len(lengths)
    if 0 in lengths:
        raise UsageError(f"prompt {list(lengths).index(0)} is empty; begin it with a token")
    parts = {"latents": latents_BIVD, "n_images": n_images_B, "prefixes": prefixes or None}
    for name, part in parts.items():
        if part is not None and len(part) != B:
            raise UsageError(f"{B} prompts came with {name} for {len(part)}")
    slots = 0 if latents_BIVD is None else Shown.of(latents_BIVD).slots
    if n_images_B is not None and B and (most := int(n_images_B.max())) > slots:
        raise UsageError(f"n_images says {most}, the latents of a prompt have room for {slots}")


def pack(ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, list[int]]:
    """Padding, wherever it is, moves to the right; returns ids and lengths."""
    if mask_BT is None:
        return ids_BT, [ids_BT.shape[1]] * len(ids_BT)
    order_BT, lengths_B = packing(mask_BT)
    lengths: list[int] = lengths_B.tolist()
    return ids_BT.gather(1, order_BT)[:, : max(lengths, default=0)], lengths


def read_prompts(
    prefixes: Sequence[KVCache | None],
    model: Flamingo,
    cache: KVCache,
    ids_BT: Tensor,
    lengths: Sequence[int],
    latents_BIVD: Latents | None,
    n_images_B: Tensor | None,
    rows: Sequence[int],
) -> Tensor:
    """`read_after`, for answers to follow: from here on a model that decodes blindly does."""
    logits_BY = read_after(prefixes, model, cache, ids_BT, lengths, latents_BIVD, n_images_B, rows)
    if model.blind_decoding:
        cache.unsee(rows)
    return logits_BY


def read_after(
    prefixes: Sequence[KVCache | None],
    model: Flamingo,
    cache: KVCache,
    ids_BT: Tensor,
    lengths: Sequence[int],
    latents_BIVD: Latents | None,
    n_images_B: Tensor | None,
    rows: Sequence[int] | None = None,
) -> Tensor:
    """`model.prefill` into empty rows, but what row 0 of a prompt's prefix holds, its first tokens
    and pictures, is copied and not computed again.  No prefixes at all: it is `model.prefill`.

    A prefix is shorter than its prompt and was read with the prompt's flag: where the prompt has a
    picture tag and the prefix none, the prefix's `flags_R` was set to 1 before it was filled.
    """
    if not any(prefix is not None for prefix in prefixes):
        return model.prefill(cache, ids_BT, lengths, latents_BIVD, n_images_B, rows=rows)
    to = range(len(cache)) if rows is None else rows
    for prefix in {id(p): p for p in prefixes if p is not None}.values():
        of = [r for r, p in zip(to, prefixes, strict=True) if p is prefix]
        cache.adopt(of, prefix, [0] * len(of))
    held = [0 if prefix is None else prefix.lengths[0] for prefix in prefixes]
    left = [length - done for length, done in zip(lengths, held, strict=True)]
    if max(held) + max(left) > cache.capacity:
        # Side by side, the padding behind a long prefix would not fit: like with like instead.
        logits: dict[int, Tensor] = {}
        for done in set(held):
            of = [i for i, h in enumerate(held) if h == done]
            part = read_after(
                [prefixes[i] for i in of],
                model,
                cache,
                ids_BT[of, : max(lengths[i] for i in of)],
                [lengths[i] for i in of],
                None if latents_BIVD is None else Shown.of(latents_BIVD).rows(of),
                None if n_images_B is None else n_images_B[of],
                [to[i] for i in of],
            )
            logits |= dict(zip(of, part, strict=True))
        return torch.stack([logits[i] for i in range(len(held))])
    held_B1 = torch.tensor(held, device=ids_BT.device)[:, None]
    place_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device).expand_as(ids_BT)
    tags_BT = ids_BT == model.tokens.image
    shown_B = (tags_BT & (place_BT < held_B1)).sum(dim=1)
    if n_images_B is None:
        slots = 0 if latents_BIVD is None else Shown.of(latents_BIVD).slots
        n_images_B = torch.full_like(shown_B, slots)
    if bool((tags_BT.sum(dim=1) > n_images_B).any()):
        # A surplus tag sees the mean of all pictures, and the prefix has taken some away.
        raise UsageError("a prompt with a prefix has more picture tags than pictures")
    return model.prefill(
        cache,
        _without_first(ids_BT, held_B1[:, 0])[:, : max(left)],
        left,
        None if latents_BIVD is None else _still_shown(Shown.of(latents_BIVD), shown_B),
        n_images_B - shown_B,
        rows=rows,
    )


def _still_shown(shown: Shown, n_B: Tensor) -> Shown:
    """Without each row's first n pictures, and without those that no row shows any more."""
    left, which_BI = torch.unique(_without_first(shown.which_BI, n_B), return_inverse=True)
    return Shown(shown.pictures_PVD[left], which_BI)


def _without_first(x_BN: Tensor, n_B: Tensor) -> Tensor:
    """(B, N, ...) with each row moved n places to the front; what moves in behind is arbitrary."""
    rows_B1 = torch.arange(len(x_BN), device=x_BN.device)[:, None]
    place_BN = torch.arange(x_BN.shape[1], device=x_BN.device) + n_B[:, None]
    return x_BN[rows_B1, place_BN.clamp(max=max(0, x_BN.shape[1] - 1))]
