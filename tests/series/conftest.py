"""Runs made so that the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from infimm_eval.types import Unit

Chain = Callable[..., list[list[Unit]]]


def units(values: Sequence[float] | np.ndarray) -> list[Unit]:
    """Every sample its own picture."""
    return [Unit(f"q{at}", f"q{at}", float(value)) for at, value in enumerate(values)]


def chain(rng: np.random.Generator, n: int, lost: Sequence[float]) -> list[list[Unit]]:
    """A baseline and one checkpoint for each of ``lost``, the share of its skill that is gone."""
    skill, luck = rng.beta(1.2, 0.8, n), rng.random(n)
    runs = [units(rng.random(n) < skill)]
    for part in lost:
        luck = np.where(rng.random(n) < 0.15, rng.random(n), luck)
        runs.append(units(luck < skill * (1 - part)))
    return runs


@pytest.fixture
def trained() -> Chain:
    """``chain``: checkpoints of a training, neighbours sharing most answers."""
    return chain
