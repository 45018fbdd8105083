"""Jobs side by side, as tensors that the model reads at once.

Knows ids and latents; which jobs stand together is not its business.

Shapes: B rows, T tokens, I pictures of a row, V latents of a picture, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from infimm_eval.flamingo.shown import Latents, Shown
from infimm_eval.models.flamingo.requests import Job, widest
from infimm_eval.models.shared.statistics import Statistics


class Batch(NamedTuple):
    """What ``flamingo.generate`` and ``flamingo.rank`` take first, in their order.

    Ids and mask are padded on the right.  Without pictures the last two are None.
    """

    ids_BT: Tensor
    mask_BT: Tensor
    latents_BIVD: Latents | None
    n_images_B: Tensor | None


def collate(jobs: Sequence[Job], device: torch.device, statistics: Statistics) -> Batch:
    """The batch of these jobs, whose latents are there; counts their ``tokens_in``.  A picture that
    several show is there once."""
    statistics.count("tokens_in", sum(len(job.ids) for job in jobs))
    longest = max(len(job.ids) for job in jobs)
    ids = torch.tensor([job.ids + [0] * (longest - len(job.ids)) for job in jobs])
    mask = torch.tensor([[1] * len(j.ids) + [0] * (longest - len(j.ids)) for j in jobs])
    if not (most := widest(jobs)):
        return Batch(ids.to(device), mask.to(device), None, None)
    distinct = {d: p for job in jobs for d, p in zip(job.digests, job.latents, strict=True)}
    place = {digest: n for n, digest in enumerate(distinct, 1)}
    table = torch.stack([torch.zeros_like(next(iter(distinct.values()))), *distinct.values()])
    slots = [[place[d] for d in job.digests] + [0] * (most - len(job.digests)) for job in jobs]
    latents_BIVD = Shown(table, torch.tensor(slots, device=device))
    counts = torch.tensor([len(job.latents) for job in jobs], device=device)
    return Batch(ids.to(device), mask.to(device), latents_BIVD, counts)
