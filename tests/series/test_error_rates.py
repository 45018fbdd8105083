"""The error rates of a series, on small, seeded versions of ``bench/simulate_series.py``."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from infimm_eval.series.judging import Terms
from infimm_eval.series.looks import LOOKS, Sides, asking_order, judge_look
from infimm_eval.series.scores import changes, difference


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[1] / "bench" / "simulate_series.py"
    spec = importlib.util.spec_from_file_location("simulate_series", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(simulation: ModuleType, *words: str) -> list[dict[str, Any]]:
    return list(simulation.main(words))


def test_every_shape_loses_what_it_is_told_to_lose(simulation: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for name, pool in simulation.generated().items():
        left = []
        for _ in range(30):
            sampled = simulation.Sampled.draw(rng, pool, 1000)
            (run,) = sampled.changes(sampled.pair(rng, 0.2))
            left.append(difference(run).value / sampled.level)
        assert np.mean(left) == pytest.approx(-0.2, abs=0.02), name


def test_simulated_tables_are_those_of_units(simulation: ModuleType) -> None:
    rng = np.random.default_rng(1)
    sampled = simulation.Sampled.draw(rng, simulation.generated()["mme"], 900)
    values = sampled.pair(rng, 0.1)
    (run,) = sampled.changes(values)
    by_units = changes(*(sampled.units(row) for row in values), scale=1.0)
    for made, usual in zip((difference(run),), (difference(by_units),), strict=True):
        assert made.value == pytest.approx(usual.value)
        assert made.error == pytest.approx(usual.error)


def test_simulated_looks_are_those_of_an_evaluation(simulation: ModuleType) -> None:
    rng = np.random.default_rng(2)
    for name in ("mme", "vqa"):
        sampled = simulation.Sampled.draw(rng, simulation.generated()[name], 1200)
        (run,) = sampled.changes(sampled.pair(rng, 0.1))
        order = asking_order([str(at) for at in range(sampled.clusters)],
                             [str(kind) for kind in sampled.kind_C])  # fmt: skip
        worth = 2 * difference(run).detectable
        ((said, asked),) = simulation.looked(order, [run], Sides(), 0.0, worth)
        for look, share in enumerate(LOOKS):
            mask = np.zeros((sampled.clusters, 1))
            mask[order[: max(2, round(share * len(order)))]] = 1
            part = type(run)(run.top_CS * mask, run.bottom_CS * mask, run.all_CS, run.scale)
            verdict = judge_look(part, Sides(), look, worth=worth).verdict
            if verdict != "undecided":
                break
        assert (verdict, share) == (said, asked)


def test_a_quiet_training_raises_no_alarm_and_a_drop_does(simulation: ModuleType) -> None:
    words = ("--family", "accuracy,circular", "--samples", "600", "--trials", "6")
    flat, limit, drop = rows(simulation, "series", *words)
    assert flat["false alarm"][0] + limit["false alarm"][0] <= 0.17
    assert sum(share for share, _ in drop["within three"].values()) >= 1.6
    assert json.dumps([flat, limit, drop])


def test_an_evaluation_is_decided_early_and_rightly(simulation: ModuleType) -> None:
    words = ("--family", "accuracy", "--samples", "1000", "--trials", "40")
    flat, limit, drop = rows(simulation, "looks", *words)
    assert flat["same"][0] >= 0.8 and flat["worse"][0] <= 0.15
    assert limit["worse"][0] <= 0.2 and limit["same"][0] <= 0.2
    assert drop["worse"][0] >= 0.8 and drop["median share asked"] <= 0.3


def test_looks_inside_a_series_share_its_error_equally() -> None:
    sides = Terms(planned=50, benchmarks=5, looks=LOOKS).sides
    assert (sides.worse, sides.better) == pytest.approx((0.0002, 0.0002))
    assert (sides.same, sides.looks) == (0.05, LOOKS)


@pytest.mark.slow
def test_error_rates_are_kept_for_every_shape_of_evidence(simulation: ModuleType) -> None:
    """Of 60 trainings three alarms are expected; more than eight come twice in a thousand."""
    words = ("--trials", "60", "--seconds", "600")
    for what in ("series", "inside"):
        flat, limit, drop = rows(simulation, what, *words)
        assert flat["false alarm"][0] <= 0.14 and limit["false alarm"][0] <= 0.14
        assert min(share for share, _ in drop["within three"].values()) >= 0.6
        if what == "inside":
            assert max(flat["healthy, median share asked"].values()) <= 0.25
    for row in rows(simulation, "looks", *words):
        wrong = {"flat": ["worse"], "limit": ["worse", "same"], "drop": ["same"]}[row["truth"]]
        assert max(row[verdict][0] for verdict in wrong) <= 0.17, row
