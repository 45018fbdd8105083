"""Runs made so that the truth is known: what several systems scored, and checkpoints drawn from it.

A pool holds what several systems scored on the same samples: one for each benchmark, drawn here
from the shapes of their evidence, or real systems' of a file.  A run takes, picture by picture, the
answers of one of the systems; from one run to the next a picture keeps its system with a given
probability, so that neighbours share most answers, as real checkpoints do, and the expected score
never moves.  Quality is lost by turning answers into noughts, for good.

Refuses to know any benchmark, only the shapes of their evidence, and how runs are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infimm_eval.series.looks import asking_order
from infimm_eval.series.scores import Changes
from infimm_eval.types import Unit

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


# -- pools ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """What several systems scored, units sorted by cluster.  M systems, U units, C clusters."""

    name: str
    values_MU: Floats
    weight_U: Floats
    stratum_U: Ints
    start_C: Ints
    """Where each cluster's units begin."""
    size_C: Ints
    kind_C: Ints
    """Clusters of one kind lie in the same strata."""

    @property
    def strata(self) -> int:
        return int(self.stratum_U.max()) + 1

    @property
    def whole(self) -> bool:
        """Losses strike whole pictures where a picture has units in several strata."""
        return self.strata > 1


def pool(name: str, values_MU: Floats, cluster_U: Ints, stratum_U: Ints | None = None) -> Pool:
    """A pool of unit weights; clusters and strata by number."""
    order = np.argsort(cluster_U, kind="stable")
    strata = np.zeros(len(order), np.intp) if stratum_U is None else stratum_U[order]
    _, start, size = np.unique(cluster_U[order], return_index=True, return_counts=True)
    kinds: dict[tuple[int, ...], int] = {}
    kind = [
        kinds.setdefault(tuple(sorted(set(strata[a : a + b].tolist()))), len(kinds))
        for a, b in zip(start, size, strict=True)
    ]
    ones = np.ones(len(order))
    return Pool(name, values_MU[:, order], ones, strata, start, size, np.array(kind))


def real(path: Path) -> dict[str, Pool]:
    """The pools of a file: NAME/value [systems, units], NAME/cluster, NAME/stratum."""
    file = np.load(path)
    names = sorted({key.split("/")[0] for key in file})
    return {
        name: pool(name, *(file[f"{name}/{part}"] for part in ("value", "cluster", "stratum")))
        for name in names
    }


def generated(seed: int = 0, systems: int = 4) -> dict[str, Pool]:
    """A pool of every shape of evidence; a sample has its own difficulty, a system its luck."""
    rng = np.random.default_rng(seed)
    made = (accuracy, vqa, caption, mme, circular, mmmu)
    return {shape.__name__: shape(rng, systems) for shape in made}


def accuracy(rng: np.random.Generator, systems: int, n: int = 4000) -> Pool:
    """Right or wrong, every question alone (ScienceQA)."""
    values = rng.random((systems, n)) < rng.beta(1.2, 0.8, n)
    return pool("accuracy", values.astype(float), np.arange(n))


def mmmu(rng: np.random.Generator, systems: int) -> Pool:
    """Nine hundred lettered questions of thirty subjects, near chance in many."""
    subject = rng.beta(4.0, 6.0, 30).repeat(30)
    values = rng.random((systems, 900)) < np.clip(subject + rng.normal(0, 0.2, 900), 0.05, 0.95)
    return pool("mmmu", values.astype(float), np.arange(900))


def vqa(rng: np.random.Generator, systems: int, n: int = 5000) -> Pool:
    """Agreement with ten people; one to six questions share a picture and its difficulty."""
    pictures = np.repeat(np.arange(n), rng.integers(1, 7, n))[:n]
    skill = rng.beta(1.2, 0.8, n)[pictures]
    agreed = rng.choice([0.3, 0.6, 0.9, 1.0], n, p=[0.1, 0.1, 0.2, 0.6])
    return pool("vqa", np.where(rng.random((systems, n)) < skill, agreed, 0.0), pictures)


def caption(rng: np.random.Generator, systems: int, n: int = 5000) -> Pool:
    """CIDEr: unbounded and skewed."""
    values = rng.gamma(2.0, 0.5, n) * rng.gamma(2.0, 0.5, (systems, n))
    return pool("caption", values, np.arange(n))


def mme(rng: np.random.Generator, systems: int) -> Pool:
    """Ten sub-tasks of the official sizes, two questions a picture: accuracy, and both right."""
    sizes = (30, 30, 30, 30, 147, 170, 200, 200, 200, 20)
    task = np.arange(10).repeat(sizes)
    skill = rng.beta(3.0, 1.0, len(task))
    right = rng.random((systems, 2, len(task))) < skill
    values = np.concatenate([right[:, 0], right[:, 1], right.all(1)], axis=1)
    picture = np.tile(np.arange(len(task)), 3)
    return pool("mme", values.astype(float), picture, np.concatenate([task, task, task + 10]))


def circular(rng: np.random.Generator, systems: int, n: int = 4000) -> Pool:
    """MMBench: right in all four rotations of the options; three questions a picture."""
    values = (rng.random((4, systems, n)) < rng.beta(6.0, 0.6, n)).all(0)
    return pool("circular", values.astype(float), np.arange(n) // 3)


# -- runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampled:
    """A benchmark of about ``n`` units drawn from a pool, pictures with replacement."""

    pool: Pool
    unit_U: Ints
    cluster_U: Ints
    kind_C: Ints

    @classmethod
    def draw(cls, rng: np.random.Generator, pool: Pool, n: int) -> Sampled:
        part = n / len(pool.weight_U)
        kinds = (np.flatnonzero(pool.kind_C == k) for k in range(int(pool.kind_C.max()) + 1))
        picked = np.concatenate(
            [rng.choice(rows, max(2, round(len(rows) * part))) for rows in kinds]
        )
        size = pool.size_C[picked]
        offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        unit = np.repeat(pool.start_C[picked], size) + offset
        return cls(pool, unit, np.repeat(np.arange(len(picked)), size), pool.kind_C[picked])

    @property
    def clusters(self) -> int:
        return len(self.kind_C)

    @property
    def level(self) -> float:
        """The expected headline of a run that lost nothing, scale 1."""
        tops = self.sums(self.pool.values_MU[:, self.unit_U])
        return float((tops.sum(1) / self.bottom_CS.sum(0)).sum(1).mean())

    @property
    def bottom_CS(self) -> Floats:
        return self.sums(np.ones((1, len(self.unit_U))))[0]

    def sums(self, values_TU: Floats) -> Floats:
        """[runs, clusters, strata] sums of values."""
        strata = self.pool.strata
        cell = self.cluster_U * strata + self.pool.stratum_U[self.unit_U]
        out = np.stack([np.bincount(cell, row, self.clusters * strata) for row in values_TU])
        return out.reshape(len(values_TU), self.clusters, strata)

    def runs(self, rng: np.random.Generator, keep_T: Floats, lost_T: Floats) -> Floats:
        """Values of a chain of runs [runs, units]; ``keep_T[0]`` is not used."""
        systems = len(self.pool.values_MU)
        source = rng.integers(0, systems, self.clusters)
        luck = rng.random(self.clusters if self.pool.whole else len(self.unit_U))
        luck_U = luck[self.cluster_U] if self.pool.whole else luck
        out = np.empty((len(keep_T), len(self.unit_U)))
        for t, (keep, lost) in enumerate(zip(keep_T, lost_T, strict=True)):
            if t:
                fresh = rng.integers(0, systems, self.clusters)
                source = np.where(rng.random(self.clusters) < keep, source, fresh)
            out[t] = self.pool.values_MU[source[self.cluster_U], self.unit_U] * (luck_U >= lost)
        return out

    def pair(self, rng: np.random.Generator, lost: float = 0.0) -> Floats:
        """A baseline and a run of its own that lost a share of its answers."""
        return self.runs(rng, np.array([1.0, 0.0]), np.array([0.0, min(1.0, lost)]))

    def changes(self, values_TU: Floats) -> list[Changes]:
        """Every later run against the first."""
        bottom_CS = self.bottom_CS
        tops = self.sums(values_TU[1:] - values_TU[:1])
        return [Changes(top_CS, bottom_CS, bottom_CS, 1.0) for top_CS in tops]

    def units(self, values_U: Floats) -> list[Unit]:
        strata, clusters = self.pool.stratum_U[self.unit_U], self.cluster_U
        return [
            Unit(f"{at}", f"{clusters[at]}", value, stratum=f"{strata[at]:03d}")
            for at, value in enumerate(values_U.tolist())
        ]


def part_of(run: Changes, asked_C: NDArray[np.bool_]) -> Changes:
    """A run over a part of its clusters."""
    mask = asked_C[:, None]
    bottom_CS = run.bottom_CS * mask
    return Changes(run.top_CS * mask, bottom_CS, bottom_CS, run.scale)


def order_of(rng: np.random.Generator, sampled: Sampled) -> list[int]:
    names = [str(at) for at in range(sampled.clusters)]
    return asking_order(names, [str(kind) for kind in sampled.kind_C], int(rng.integers(1 << 31)))
