"""How often the gate fires: on runs made so that the truth is known.

    python tests/bench/simulate_gate.py [--trials 1000] [--samples 1.0]

Both runs of a trial answer the same samples.  A sample has its own difficulty, pictures are shared
by questions, and a run's luck is its own; three truths are tried:

    no change   both runs are equally good; the gate looks at all metrics in one table
    drop        the new run is worse by twice what the gate calls detectable, in one metric of a
                table of five; the other four show nothing, which is Holm's strictest case
    allowed     the new run is worse by exactly the allowed drop, in one metric

Prints JSON.  Refuses to know any benchmark: only the shapes of their evidence.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from infimm_eval.compare import Cell, Tolerance, Tolerances, compare, gate
from infimm_eval.types import Unit

Draw = Callable[[np.random.Generator, int, float], tuple[list[Unit], list[Unit]]]
"""Units of a base and a new run over ``n`` samples; ``q`` of the new run's skill is lost."""


@dataclass(frozen=True)
class Shape:
    name: str
    n: int
    draw: Draw
    left: Callable[[float], float]
    """The expected headline of a run that lost ``q`` of its skill, as a share of the base's."""
    scale: float = 100.0


# -- the shapes of evidence ----------------------------------------------------------------------


def accuracy(rng: np.random.Generator, n: int, q: float) -> tuple[list[Unit], list[Unit]]:
    """Right or wrong, every question alone (ScienceQA, MMMU)."""
    skill = rng.beta(1.2, 0.8, n)
    return _units(rng.random(n) < skill), _units(rng.random(n) < skill * (1 - q))


def vqa(rng: np.random.Generator, n: int, q: float) -> tuple[list[Unit], list[Unit]]:
    """Agreement with ten people; one to six questions share a picture and its difficulty."""
    pictures = np.repeat(np.arange(n), rng.integers(1, 7, n))[:n]
    skill = rng.beta(1.2, 0.8, n)[pictures]
    agreed = rng.choice([0.3, 0.6, 0.9, 1.0], n, p=[0.1, 0.1, 0.2, 0.6])
    runs = (np.where(rng.random(n) < skill * kept, agreed, 0.0) for kept in (1.0, 1.0 - q))
    base, new = (_units(run, [f"picture {p}" for p in pictures]) for run in runs)
    return base, new


def caption(rng: np.random.Generator, n: int, q: float) -> tuple[list[Unit], list[Unit]]:
    """CIDEr: unbounded and skewed; one run's captions are mostly the other's, reworded."""
    level = rng.gamma(2.0, 0.5, n)
    base, new = (kept * level * rng.gamma(4.0, 0.25, n) for kept in (1.0, 1.0 - q))
    return _units(base), _units(new)


def mme(rng: np.random.Generator, n: int, q: float) -> tuple[list[Unit], list[Unit]]:
    """Ten sub-tasks of two questions a picture: accuracy, and accuracy with both right."""
    base: list[Unit] = []
    new: list[Unit] = []
    for task in range(10):
        for picture in range(n // 20):
            skill = rng.beta(3.0, 1.0)
            for units, kept in ((base, 1.0), (new, 1.0 - q)):
                right = rng.random(2) < skill * kept
                name = f"{task}/{picture}"
                units += [
                    Unit(f"{name}#{k}", name, float(right[k]), stratum=f"{task} acc")
                    for k in range(2)
                ]
                units.append(Unit(name, name, float(right.all()), stratum=f"{task} acc+"))
    return base, new


def circular(rng: np.random.Generator, n: int, q: float) -> tuple[list[Unit], list[Unit]]:
    """MMBench: right in all four rotations of the options; three questions a picture."""
    skill = rng.beta(6.0, 0.6, n)
    pictures = [f"picture {i // 3}" for i in range(n)]
    base, new = (
        _units((rng.random((4, n)) < skill * kept).all(0), pictures) for kept in (1.0, 1.0 - q)
    )
    return base, new


def _units(values: Sequence[float] | np.ndarray, clusters: Sequence[str] = ()) -> list[Unit]:
    return [Unit(str(i), clusters[i] if clusters else "", float(v)) for i, v in enumerate(values)]


def _mme_left(q: float) -> float:
    """Skill is Beta(3, 1): its mean is 3/4, the mean of its square 3/5."""
    return (0.75 * (1 - q) + 0.6 * (1 - q) ** 2) / 1.35


SHAPES = (
    Shape("accuracy", 500, accuracy, lambda q: 1 - q),
    Shape("vqa", 600, vqa, lambda q: 1 - q),
    Shape("caption", 400, caption, lambda q: 1 - q),
    Shape("mme", 400, mme, _mme_left),
    Shape("circular", 450, circular, lambda q: (1 - q) ** 4),
)


# -- trials --------------------------------------------------------------------------------------


def simulate(
    trials: int,
    samples: float,
    resamples: int,
    seed: int = 0,
    shapes: Sequence[Shape] = SHAPES,
) -> dict[str, object]:
    """Shares of trials in which the gate fired."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    fired = sum(_fires([_pair(rng, s, samples) for s in shapes], resamples) for _ in range(trials))
    return {
        "trials": trials,
        "samples": {shape.name: _size(shape, samples) for shape in shapes},
        "resamples": resamples,
        "no_change": fired / trials,
        "metrics": {
            shape.name: _one_shape(rng, shape, trials, samples, resamples) for shape in shapes
        },
        "seconds": round(time.perf_counter() - started),
    }


def _one_shape(
    rng: np.random.Generator, shape: Shape, trials: int, samples: float, resamples: int
) -> dict[str, float]:
    detectable, level = _detectable(rng, shape, samples)
    drop = 2 * detectable
    lost, allowed = _lost(shape, drop / level), _lost(shape, detectable / level)
    seen = [_p_drop(_pair(rng, shape, samples, lost), resamples) for _ in range(trials)]
    within = [
        _p_drop(_pair(rng, shape, samples, allowed), resamples, detectable) for _ in range(trials)
    ]
    return {
        "headline": round(level, 2),
        "detectable": round(detectable, 2),
        "drop": float(np.mean(np.array(seen) * len(SHAPES) <= 0.05)),
        "allowed": float(np.mean(np.array(within) <= 0.05)),
    }


def _fires(pairs: Sequence[tuple[Cell, Cell]], resamples: int) -> bool:
    base, new = zip(*pairs, strict=True)
    return gate(compare(base, new, resamples=resamples)).code == 1


def _p_drop(pair: tuple[Cell, Cell], resamples: int, allowed: float = 0.0) -> float:
    tolerances = Tolerances(Tolerance(allowed))
    (row,) = compare([pair[0]], [pair[1]], tolerances, resamples=resamples).rows
    assert row.p_drop is not None
    return row.p_drop


def _detectable(rng: np.random.Generator, shape: Shape, samples: float) -> tuple[float, float]:
    """What the gate calls detectable where nothing changed, and the headline; means of 50 runs."""
    detectable, level = [], []
    for _ in range(50):
        base, new = _pair(rng, shape, samples)
        (row,) = compare([base], [new], resamples=500).rows
        assert row.difference is not None and base.value is not None
        detectable.append(row.difference.detectable)
        level.append(base.value)
    return fmean(detectable), fmean(level)


def _lost(shape: Shape, share: float) -> float:
    """The loss of skill that takes ``share`` of the headline, by bisection."""
    if share >= 1:
        raise ValueError(f"{shape.name}: the drop is larger than the headline; take more samples")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - shape.left(middle) < share else (low, middle)
    return low


def _size(shape: Shape, samples: float) -> int:
    return round(shape.n * samples / 20) * 20


def _pair(
    rng: np.random.Generator, shape: Shape, samples: float, lost: float = 0.0
) -> tuple[Cell, Cell]:
    n = _size(shape, samples)
    base, new = (_cell(shape, n, units) for units in shape.draw(rng, n, lost))
    return base, new


def _cell(shape: Shape, n: int, units: list[Unit]) -> Cell:
    strata: dict[str, list[float]] = {}
    for unit in units:
        strata.setdefault(unit.stratum, []).append(unit.value)
    return Cell(
        task=shape.name,
        title=shape.name,
        shots=0,
        seed=0,
        model="simulated",
        headline="score",
        value=shape.scale * sum(fmean(values) for values in strata.values()),
        scale=shape.scale,
        n=n,
        unscored=0,
        complete=True,
        units=units,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How often the gate fires, by simulation.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--samples", type=float, default=1.0, help="size of the runs")
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    print(json.dumps(simulate(given.trials, given.samples, given.resamples), indent=2))
