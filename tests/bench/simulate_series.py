"""How often checkpoints are judged wrongly: on trainings made so that the truth is known.

    python -m tests.bench.simulate_series WHAT... [--pool POOL.npz] [--samples 2000] [--trials 400]

    series    50 checkpoints of five benchmarks, each asked whole, against joint thresholds
    inside    the same with looks inside every evaluation (--stop-when-decided)
    looks     one evaluation looked at ten times, 5 % a side
    plan      sample sizes from pilots of 1,000, against simulated power

Trainings are drawn from pools of scores (`simulated_runs.py`, or real systems' of a file); from one
checkpoint to the next a picture keeps its answers with probability 0.85.

Prints a line of JSON a row; shares come with their standard errors.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from infimm_eval.series.judging import Terms, judge
from infimm_eval.series.looks import LOOKS, Sides, ripe, verdict_at
from infimm_eval.series.planning import plan
from infimm_eval.series.scores import Changes, Difference, difference, differences
from tests.bench.simulated_runs import Pool, Sampled, generated, order_of, part_of, real

Row = dict[str, Any]

NORMAL = NormalDist()
STEPS = 50
KEEP = 0.85


# -- looks ---------------------------------------------------------------------------------------


def looked(
    order: Sequence[int], runs: Sequence[Changes], sides: Sides, allowed: float, worth: float
) -> list[tuple[str, float]]:
    """Every run's verdict with looks inside, and the share of the clusters that it asked."""
    asked_C = np.zeros(len(order), dtype=bool)
    said = [("undecided", 1.0)] * len(runs)
    open_ = list(range(len(runs)))
    for look, asked in enumerate(sides.looks):
        asked_C[list(order[: max(2, round(asked * len(order)))])] = True
        parts = [part_of(runs[at], asked_C) for at in open_]
        if not parts or not ripe(parts[0].bottom_CS, runs[0].all_CS):
            continue
        for at, seen in zip(list(open_), differences(parts), strict=True):
            verdict = verdict_at(seen, sides, look, allowed=allowed, worth=worth)
            if verdict != "undecided":
                said[at] = (verdict, asked)
                open_.remove(at)
    return said


# -- trainings -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """One benchmark of one training."""

    sampled: Sampled
    runs: list[Changes]
    allowed: float
    worth: float
    at: int | None
    """The step of its drop."""


def training(
    rng: np.random.Generator, pool: Pool, n: int, truth: str, times: float = 2.0
) -> Training:
    """``flat``; ``limit``: every checkpoint exactly the allowed drop below the baseline;
    ``drop``: ``times`` the detectable drop from a random step on."""
    sampled = Sampled.draw(rng, pool, n)
    small = difference(sampled.changes(sampled.pair(rng))[0]).detectable
    lost_T, allowed, at = np.zeros(STEPS + 1), 0.0, None
    if truth == "limit":
        allowed = small / 2
        lost_T[1:] = allowed / sampled.level
    if truth == "drop":
        at = int(rng.integers(5, STEPS - 3))
        lost_T[at + 1 :] = min(1.0, times * small / sampled.level)
    keep_T = np.r_[1.0, 0.0, np.full(STEPS - 1, KEEP)]  # the baseline is a run of its own
    runs = sampled.changes(sampled.runs(rng, keep_T, lost_T))
    return Training(sampled, runs, allowed, allowed or 2 * small, at)


def family_of_trainings(
    rng: np.random.Generator, pools: Mapping[str, Pool], n: int, truth: str, trial: int
) -> dict[str, Training]:
    """With ``drop``, one benchmark of the family drops: another one every trial."""
    names = list(pools)
    return {
        name: training(rng, pools[name], n, "flat" if truth == "drop" and at != trial % len(names)
                       else truth)
        for at, name in enumerate(names)
    }  # fmt: skip


def timed(trials: int, seconds: float) -> Iterator[int]:
    started = time.perf_counter()
    for trial in range(trials):
        if time.perf_counter() - started > seconds:
            return
        yield trial


def share(hits: float, trials: int) -> list[float]:
    """A share and its standard error."""
    found = hits / max(1, trials)
    return [round(found, 4), round(math.sqrt(found * (1 - found) / max(1, trials)), 4)]


def series(pools: Mapping[str, Pool], given: argparse.Namespace) -> Iterator[Row]:
    """Joint thresholds hardly differ from training to training: those of three trainings of each
    benchmark are averaged for the rest."""
    rng = np.random.default_rng(given.seed)
    terms = Terms(planned=STEPS, benchmarks=len(pools))
    thresholds: dict[str, list[list[float]]] = {name: [] for name in pools}
    for name, known in thresholds.items():
        for _ in range(3):
            made = training(rng, pools[name], given.samples, "flat")
            known.append([j.threshold for j in judge(made.runs, terms)])
    limit_KT = np.array([np.mean(known, 0) for known in thresholds.values()])
    for truth in ("flat", "limit", "drop"):
        false, caught, at_once, each = 0, Counter[str](), Counter[str](), Counter[str]()
        trials = 0
        for trial in timed(given.trials, given.seconds):
            trials += 1
            made = family_of_trainings(rng, pools, given.samples, truth, trial)
            score_KT = np.array([[d.drop(m.allowed) for d in differences(m.runs)]
                                 for m in made.values()])  # fmt: skip
            alarm_T = (score_KT > limit_KT).any(0)
            name = list(pools)[trial % len(pools)]
            at = made[name].at
            false += bool(alarm_T[:at].any())
            if at is not None:
                each[name] += 1
                own_T = (score_KT > limit_KT)[trial % len(pools)]
                at_once[name] += bool(own_T[at])
                caught[name] += bool(own_T[at : at + 3].any())
        row: Row = {"what": "series", "truth": truth, "samples": given.samples, "trials": trials,
                    "threshold": round(float(limit_KT.mean()), 2),
                    "false alarm": share(false, trials)}  # fmt: skip
        if truth == "drop":
            row["within three"] = {name: share(caught[name], each[name]) for name in pools}
            row["at once"] = share(at_once.total(), trials)
        yield row


def inside(pools: Mapping[str, Pool], given: argparse.Namespace) -> Iterator[Row]:
    """Every checkpoint is looked at until it is decided, each at its equal share of alpha."""
    rng = np.random.default_rng(given.seed + 1)
    terms = Terms(planned=STEPS, benchmarks=len(pools), looks=LOOKS)
    for truth in ("flat", "limit", "drop"):
        healthy: dict[str, list[float]] = {name: [] for name in pools}
        dropped: dict[str, list[float]] = {name: [] for name in pools}
        false, caught, each, missed, trials = 0, Counter[str](), Counter[str](), 0, 0
        for trial in timed(given.trials, given.seconds):
            trials += 1
            any_false = False
            made = family_of_trainings(rng, pools, given.samples, truth, trial)
            for name, one in made.items():
                order = order_of(rng, one.sampled)
                last = STEPS if one.at is None else one.at + 3
                said = looked(order, one.runs[:last], terms.sides, one.allowed, one.worth)
                before, after = said[: one.at], said[last - 3 :] if one.at is not None else []
                any_false |= any(verdict == "worse" for verdict, _ in before)
                healthy[name] += [used for _, used in before]
                if after:
                    each[name] += 1
                    caught[name] += any(verdict == "worse" for verdict, _ in after)
                    dropped[name].append(after[0][1])
                    missed += after[0][0] == "same"
            false += any_false
        row: Row = {"what": "inside", "truth": truth, "samples": given.samples, "trials": trials,
                    "false alarm": share(false, trials),
                    "healthy, median share asked": _medians(healthy)}  # fmt: skip
        if truth == "drop":
            row["dropped, median share asked"] = _medians(dropped)
            row["within three"] = {name: share(caught[name], each[name]) for name in pools}
            row["called the same at first"] = share(missed, trials)
        yield row


def _medians(used: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: float(np.median(shares)) for name, shares in used.items() if shares}


# -- one evaluation ------------------------------------------------------------------------------


def looks(pools: Mapping[str, Pool], given: argparse.Namespace) -> Iterator[Row]:
    """``limit``: the drop is both the allowed one and the one worth seeing; either verdict errs."""
    rng = np.random.default_rng(given.seed + 2)
    for name, pool in pools.items():
        for truth in ("flat", "limit", "drop"):
            said, used = Counter[str](), []
            for _ in timed(given.trials, given.seconds / len(pools)):
                sampled = Sampled.draw(rng, pool, given.samples)
                small = difference(sampled.changes(sampled.pair(rng))[0]).detectable
                allowed = small if truth == "limit" else 0.0
                worth = allowed or 2 * small
                lost = {"flat": 0.0, "limit": small, "drop": 2 * small}[truth] / sampled.level
                (run,) = sampled.changes(sampled.pair(rng, lost))

                order = order_of(rng, sampled)
                ((verdict, asked),) = looked(order, [run], Sides(), allowed, worth)
                said[verdict] += 1
                used.append(asked)
            yield {"what": "looks", "benchmark": name, "truth": truth, "samples": given.samples,
                   "trials": len(used), "median share asked": float(np.median(used)),
                   **{verdict: share(said[verdict], len(used))
                      for verdict in ("worse", "same", "better", "undecided")}}  # fmt: skip


# -- plans ---------------------------------------------------------------------------------------


def plans(pools: Mapping[str, Pool], given: argparse.Namespace) -> Iterator[Row]:
    """The truth is a probit line through powers measured at five sizes."""
    rng = np.random.default_rng(given.seed + 3)
    for name, pool in pools.items():
        large = Sampled.draw(rng, pool, 20_000)
        drop, per_cluster = 0.05 * large.level, len(large.unit_U) / large.clusters
        one, two = (large.units(values) for values in large.pair(rng))
        guess = plan(one, two, drop, scale=1.0).clusters
        assert guess is not None
        truth = _size_with_power(rng, pool, guess * per_cluster, given.trials)
        sizes, sure, covered, alone = [], [], 0, 0
        for _ in range(min(200, given.trials)):
            sampled = Sampled.draw(rng, pool, 1000)
            one, two = (sampled.units(values) for values in sampled.pair(rng))
            found = plan(one, two, drop, scale=1.0)
            assert found.clusters is not None
            sizes.append(found.clusters * per_cluster / truth)
            sure.append(found.sure)
            covered += found.low * per_cluster <= truth <= found.high * per_cluster
            range_ = plan(one, None, drop, scale=1.0)
            alone += range_.low * per_cluster <= truth <= range_.high * per_cluster
        near, said = np.abs(np.array(sizes) - 1) <= 0.15, np.array(sure)
        yield {"what": "plan", "benchmark": name, "truth": round(truth),
               "formula": round(guess * per_cluster), "pilots": len(sizes),
               "median / truth": round(float(np.median(sizes)), 2),
               "within 15 %": share(near.sum(), len(sizes)),
               "given as one number": share(said.sum(), len(sizes)),
               "of these within 15 %": share(near[said].sum(), int(said.sum())),
               "range holds the truth": share(covered, len(sizes)),
               "range of a baseline alone holds it": share(alone, len(sizes))}  # fmt: skip


def _size_with_power(rng: np.random.Generator, pool: Pool, guess: float, trials: int) -> float:
    sizes = np.round(guess * np.array([0.7, 0.85, 1.0, 1.15, 1.3])).astype(int)
    hits = [sum(_found(rng, pool, int(n)) for _ in range(trials)) / trials for n in sizes]
    probit = [NORMAL.inv_cdf(min(0.999, max(0.001, hit))) for hit in hits]
    slope, offset = np.polyfit(np.sqrt(sizes), probit, 1)
    return float(((NORMAL.inv_cdf(0.9) - offset) / slope) ** 2)


def _found(rng: np.random.Generator, pool: Pool, n: int) -> bool:
    sampled = Sampled.draw(rng, pool, n)
    found: Difference = difference(sampled.changes(sampled.pair(rng, 0.05))[0])
    return found.drop(0.0) > 1.96


WHAT: dict[str, Callable[[Mapping[str, Pool], argparse.Namespace], Iterator[Row]]] = {
    "series": series,
    "inside": inside,
    "looks": looks,
    "plan": plans,
}


def main(words: Sequence[str] | None = None) -> Iterator[Row]:
    parser = argparse.ArgumentParser(description="How often a series is judged wrongly.")
    parser.add_argument("what", nargs="+", choices=list(WHAT))
    parser.add_argument("--pool", type=Path, help="scores of real systems instead of drawn ones")
    parser.add_argument("--family", help="benchmarks of the pool, separated by commas")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=120, help="longest time for one row")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    pools = real(given.pool) if given.pool else generated()
    usual = [name for name in pools if name != "mmmu"]
    chosen = {name: pools[name] for name in (given.family or ",".join(usual)).split(",")}
    for what in given.what:
        yield from WHAT[what](chosen, given)


if __name__ == "__main__":
    for row in main():
        print(json.dumps(row), flush=True)
