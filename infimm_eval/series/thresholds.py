"""How high a score must be, so that all of a training errs together as often as one test may.

Refuses to know samples and scores: covariances and shares of an error rate come in, limits go out.

Error is spent step by step (Lan & DeMets 1983) on the joint normal distribution of all scores so
far (max-T: Chernozhukov, Chetverikov & Kato 2013; online: Jankovic, Fischer & Brannath 2024), so
that what neighbouring checkpoints share is not paid for twice.  Legend: ``T`` steps, ``R`` draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from infimm_eval.stats.clusters import Floats

DRAWS = 100_000
RESERVE = 0.1
"""Part of the error kept for checkpoints beyond the planned number."""
BASELINE = -1
"""The run that every score is against, and that does not vary itself."""

_NORMAL = NormalDist()
_GRID = 1500
_FAR = 8.5
"""Standard deviations beyond which a normal variable need not be followed."""


def spent_over_checkpoints(steps: int, planned: int, alpha: float) -> Floats:
    """The error that may be spent up to each of ``steps`` checkpoints; never more than alpha.

    Nine tenths in equal parts over those planned, the rest ever more slowly over any beyond.
    """
    part_T = np.arange(1, steps + 1) / planned
    beyond_T = 1 - 2.0 ** -np.maximum(0.0, part_T - 1)
    spent: Floats = alpha * ((1 - RESERVE) * np.minimum(part_T, 1.0) + RESERVE * beyond_T)
    return spent


def spent_over_looks(shares: Sequence[float], alpha: float) -> Floats:
    """The error that may be spent up to looks at growing shares of the samples (Pocock-like)."""
    spent: Floats = alpha * np.log1p((math.e - 1) * np.asarray(shares, float))
    return spent


def joint_thresholds(
    covariance_TT: Floats,
    against: Sequence[Sequence[int]],
    spent_T: Floats,
    settled: Sequence[float] = (),
    draws: int = DRAWS,
) -> list[float]:
    """How high the largest score of every step may be.

    Step ``t`` is compared with the steps ``against[t]`` (``BASELINE`` among them).  By chance
    alone some score exceeds its threshold up to step ``t`` with probability ``spent_T[t]``.
    Later steps leave earlier thresholds as they are; ``settled`` are those that were said already,
    and are taken as they are also where the samples behind them have changed since.
    """
    steps = len(covariance_TT)
    nuggets = np.diag(1e-9 * np.maximum(np.diag(covariance_TT), 1e-290))  # for equal checkpoints
    factor_TT = np.vstack([np.linalg.cholesky(covariance_TT + nuggets), np.zeros(steps)])
    half_TR = np.random.default_rng(0).standard_normal((steps, draws // 2))
    noise_TR = np.hstack([half_TR, -half_TR])
    path_TR = np.zeros((steps + 1, noise_TR.shape[1]))  # the last row: the baseline
    quiet_R = np.ones(noise_TR.shape[1], dtype=bool)
    limits: list[float] = []
    for t, others in enumerate(against):
        path_TR[t] = factor_TT[t, : t + 1] @ noise_TR[: t + 1]
        worst_R = np.full(len(quiet_R), -np.inf)
        for other in others:
            apart = float(np.linalg.norm(factor_TT[t] - factor_TT[other]))
            np.maximum(worst_R, (path_TR[other] - path_TR[t]) / apart, out=worst_R)
        left = int(spent_T[t] * len(quiet_R)) - int((~quiet_R).sum())
        if t < len(settled):
            limits.append(settled[t])
        elif left > 0:
            limits.append(float(np.partition(worst_R[quiet_R], -left)[-left]))
        else:  # too few draws to tell: the union bound
            fresh = spent_T[t] - (spent_T[t - 1] if t else 0.0)
            limits.append(-_NORMAL.inv_cdf(max(1e-12, fresh / len(others))))
        quiet_R &= worst_R <= limits[-1]
    return limits


@lru_cache(maxsize=64)
def look_thresholds(shares: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """How high a score may be at looks after growing ``shares`` of the samples.

    A score times the root of its share is a Brownian motion at the looks.  Its density is followed
    from look to look by numerical integration (Armitage, McPherson & Rowe 1969), so that also
    error rates far below one in ten thousand are kept.
    """
    spent_T = spent_over_looks(shares, alpha)
    limits: list[float] = []
    grid, mass = np.zeros(1), np.ones(1)  # where an evaluation without an alarm may stand
    before, gone = 0.0, 0.0
    for share, spent in zip(shares, spent_T.tolist(), strict=True):
        deviation, step = math.sqrt(share), math.sqrt(share - before)
        limit = _upper(grid, mass, step, deviation, spent - gone)
        nodes = np.linspace(-_FAR * deviation, limit, _GRID)
        density = np.exp(-0.5 * ((nodes[:, None] - grid) / step) ** 2) @ mass
        weights = np.full(_GRID, nodes[1] - nodes[0])
        weights[[0, -1]] /= 2
        grid, mass = nodes, weights * density / (step * math.sqrt(2 * math.pi))
        before, gone = share, spent
        limits.append(limit / deviation)
    return tuple(limits)


def _upper(grid: Floats, mass: Floats, step: float, deviation: float, chance: float) -> float:
    """What the next value exceeds with probability ``chance``, by bisection."""
    low, high = -_FAR * deviation, _FAR * deviation
    near = mass > 0
    places, weights = grid[near].tolist(), mass[near].tolist()
    for _ in range(40):
        middle = (low + high) / 2
        tail = sum(
            weight * 0.5 * math.erfc((middle - place) / (step * math.sqrt(2)))
            for place, weight in zip(places, weights, strict=True)
        )
        low, high = (middle, high) if tail > chance else (low, middle)
    return (low + high) / 2
