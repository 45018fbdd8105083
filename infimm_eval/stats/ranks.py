"""Whether one quantity rises or falls with another, by ranks.

Does not say why: long answers may be wrong because they are long, or long because they are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from infimm_eval.stats.clusters import Floats


def rank_correlation(
    xs: Sequence[float], ys: Sequence[float], clusters: int, confidence: float = 0.95
) -> tuple[float, tuple[float, float]] | None:
    """Spearman's correlation with its interval (Fisher's z with the error of Bonett and Wright,
    2000), as if there were only as many pairs as ``clusters``: pairs of one picture say little more
    than one.  ``None`` where one side is constant, or of fewer than 10 clusters."""
    x, y = _ranks(xs), _ranks(ys)
    if clusters < 10 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rho = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-9, 1 - 1e-9))
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((1 + rho * rho / 2) / (clusters - 3))
    return rho, (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))


def _ranks(values: Sequence[float]) -> Floats:
    """From 1; those that are equal share the mean of theirs."""
    _, which, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[which]
    return ranks
