"""Limits at one error rate, against published numbers and against simulation."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from infimm_eval.series.looks import LOOKS
from infimm_eval.series.thresholds import (
    BASELINE,
    joint_thresholds,
    look_thresholds,
    spent_over_checkpoints,
    spent_over_looks,
)


def equal_share(alpha: float, tests: int) -> float:
    """The threshold that leans on no joint law."""
    return -NormalDist().inv_cdf(alpha / tests)


def test_looks_have_the_limits_that_simulation_has() -> None:
    assert look_thresholds(LOOKS, 0.05) == pytest.approx(
        (2.65, 2.59, 2.53, 2.49, 2.45, 2.42, 2.30, 2.26, 2.13, 2.03), abs=0.015
    )


def test_a_single_look_has_the_limit_of_a_single_test() -> None:
    assert look_thresholds((1.0,), 0.05)[0] == pytest.approx(1.6449, abs=1e-3)


def test_small_error_rates_are_kept_too() -> None:
    """Paths of a Brownian motion; the far looks of each are tilted towards the limit."""
    limits = np.array(look_thresholds((0.25, 0.5, 1.0), 1e-4))
    assert equal_share(1e-4, 1) < limits.min() < limits.max() < equal_share(1e-4, 6)
    rng = np.random.default_rng(0)
    shares = np.array([0.25, 0.5, 1.0])
    tilt = 3.5
    steps = rng.standard_normal((400_000, 3)) * np.sqrt(np.diff(shares, prepend=0.0))
    path = (steps + tilt * np.diff(shares, prepend=0.0)).cumsum(1)
    crossed = (path / np.sqrt(shares) > limits).any(1)
    chance = np.exp(-tilt * path[:, -1] + tilt**2 / 2)[crossed].sum() / len(path)
    assert chance == pytest.approx(1e-4, rel=0.05)


def test_error_is_spent_within_alpha_also_beyond_what_was_planned() -> None:
    spent = spent_over_checkpoints(200, 50, 0.05)
    assert (np.diff(spent) > 0).all()
    assert spent[49] == pytest.approx(0.045)
    assert spent[-1] < 0.05
    assert spent_over_looks((1.0,), 0.05)[0] == pytest.approx(0.05)


def test_checkpoints_that_agree_cost_less_than_equal_shares() -> None:
    steps = np.arange(30)
    related = 0.9 ** np.abs(steps[:, None] - steps)
    spent = spent_over_checkpoints(30, 30, 0.05)
    against = [[BASELINE]] * 30
    close = joint_thresholds(related, against, spent, draws=20_000)
    apart = joint_thresholds(np.eye(30), against, spent, draws=20_000)
    assert np.mean(close) < np.mean(apart) < equal_share(0.045, 30) + 0.05


def test_later_checkpoints_leave_earlier_limits_as_they_are() -> None:
    covariance = 0.5 + 0.5 * np.eye(8)
    spent = spent_over_checkpoints(8, 10, 0.05)
    against = [[BASELINE, *range(t)] for t in range(8)]
    whole = joint_thresholds(covariance, against, spent)
    first = joint_thresholds(covariance[:5, :5], against[:5], spent[:5])
    assert whole[:5] == pytest.approx(first, abs=0.08)  # other draws, the same law
    settled = joint_thresholds(covariance, against, spent, settled=[9.0] * 5)
    assert settled[:5] == [9.0] * 5
    assert settled[5] < whole[5]


@pytest.mark.slow
def test_all_limits_together_err_as_often_as_one_test() -> None:
    rng = np.random.default_rng(5)
    covariance = 0.6 + 0.4 * np.eye(12)
    spent = spent_over_checkpoints(12, 12, 0.05)
    limits = joint_thresholds(covariance, [[BASELINE]] * 12, spent)
    scores = rng.multivariate_normal(np.zeros(12), covariance, 200_000)
    assert (scores > limits).any(1).mean() == pytest.approx(0.045, abs=0.003)
