"""The interval beside a headline.

Does not compare: the intervals of two runs on the same samples overlap far too often to tell.
"""

from __future__ import annotations

from collections.abc import Collection
from statistics import NormalDist

import numpy as np

from infimm_eval.stats.clusters import Clusters, gather
from infimm_eval.types import Unit

FEW = 8
"""With fewer clusters than this a bootstrap has too little to draw from."""


def interval(
    units: Collection[Unit],
    scale: float = 100.0,
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Where the headline of ``units`` would lie on other samples of the same kind.

    * Right-or-wrong answers to questions that stand alone: Wilson's score interval (1927).
    * Everything else: percentile bootstrap over clusters, with the tails of Student's t for few
      clusters (Hesterberg 2015).
    * Where a bootstrap cannot speak (fewer than 8 clusters, or all clusters alike: all right, all
      wrong) and values lie between 0 and 1: Wilson's interval for each stratum, on the effective
      number of clusters.  No variable between 0 and 1 varies more than a coin of the same mean,
      so this errs on the wide side.

    The order of units does not matter.  ``None``: nothing can be said (no units; no bootstrap, and
    values beyond 0 to 1, as CIDEr's are).
    """
    if not units:
        return None
    clusters = gather(units)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    if _coins(clusters, len(units)):
        return _wilson(clusters, scale, z)
    few = len(clusters.top_CS) < FEW
    draws = np.zeros(0) if few else clusters.resampled(resamples, seed)
    if few or len(draws) < resamples / 2 or float(np.ptp(draws)) < 1e-9:
        bounded = all(0 <= u.value <= 1 for u in units)
        return _wilson(clusters, scale, z) if bounded else None
    tail = NormalDist().cdf(-_student(z, len(clusters.top_CS) - 1))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return scale * float(low), scale * float(high)


def _coins(clusters: Clusters, units: int) -> bool:
    """Whether units stand alone, weigh the same and are right or wrong."""
    top_CS, bottom_CS = clusters.top_CS, clusters.bottom_CS
    return (
        top_CS.shape == (units, 1)
        and bool((bottom_CS == bottom_CS[0]).all())
        and bool(((top_CS == 0) | (top_CS == bottom_CS)).all())
    )


def _wilson(clusters: Clusters, scale: float, z: float) -> tuple[float, float]:
    """Bounds of the strata added up: right for one stratum, wide for several."""
    mean_S = clusters.means_S
    # Kish's effective number: unequal clusters and weights count as fewer equal ones.
    n_S = clusters.bottom_CS.sum(0) ** 2 / (clusters.bottom_CS**2).sum(0)
    centre_S = (mean_S + z * z / (2 * n_S)) / (1 + z * z / n_S)
    half_S = z / (1 + z * z / n_S) * np.sqrt(mean_S * (1 - mean_S) / n_S + (z / (2 * n_S)) ** 2)
    low, high = np.clip(centre_S - half_S, 0, mean_S), np.clip(centre_S + half_S, mean_S, 1)
    return scale * float(low.sum()), scale * float(high.sum())


def _student(z: float, freedom: int) -> float:
    """The quantile of Student's t that belongs to the normal's ``z`` (Cornish-Fisher)."""
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
