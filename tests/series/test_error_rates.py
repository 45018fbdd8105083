"""The error rates of a series, on small, seeded versions of ``bench/simulate_series.py``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from infimm_eval.series.judging import Terms
from infimm_eval.series.looks import LOOKS, Sides, asking_order, judge_look
from infimm_eval.series.scores import changes, difference
from tests.bench import simulate_series
from tests.bench.simulated_runs import Sampled, generated


def rows(*words: str) -> list[dict[str, Any]]:
    return list(simulate_series.main(words))


def test_every_shape_loses_what_it_is_told_to_lose() -> None:
    rng = np.random.default_rng(0)
    for name, pool in generated().items():
        left = []
        for _ in range(30):
            sampled = Sampled.draw(rng, pool, 1000)
            (run,) = sampled.changes(sampled.pair(rng, 0.2))
            left.append(difference(run).value / sampled.level)
        assert np.mean(left) == pytest.approx(-0.2, abs=0.02), name


def test_simulated_tables_are_those_of_units() -> None:
    rng = np.random.default_rng(1)
    sampled = Sampled.draw(rng, generated()["mme"], 900)
    values = sampled.pair(rng, 0.1)
    (run,) = sampled.changes(values)
    by_units = changes(*(sampled.units(row) for row in values), scale=1.0)
    for made, usual in zip((difference(run),), (difference(by_units),), strict=True):
        assert made.value == pytest.approx(usual.value)
        assert made.error == pytest.approx(usual.error)


@pytest.mark.slow
def test_simulated_looks_are_those_of_an_evaluation() -> None:
    rng = np.random.default_rng(2)
    for name in ("mme", "vqa"):
        sampled = Sampled.draw(rng, generated()[name], 1200)
        (run,) = sampled.changes(sampled.pair(rng, 0.1))
        order = asking_order([str(at) for at in range(sampled.clusters)],
                             [str(kind) for kind in sampled.kind_C])  # fmt: skip
        worth = 2 * difference(run).detectable
        ((said, asked),) = simulate_series.looked(order, [run], Sides(), 0.0, worth)
        for look, share in enumerate(LOOKS):
            mask = np.zeros((sampled.clusters, 1))
            mask[order[: max(2, round(share * len(order)))]] = 1
            part = type(run)(run.top_CS * mask, run.bottom_CS * mask, run.all_CS, run.scale)
            verdict = judge_look(part, Sides(), look, worth=worth).verdict
            if verdict != "undecided":
                break
        assert (verdict, share) == (said, asked)


@pytest.mark.slow
def test_a_quiet_training_raises_no_alarm_and_a_drop_does() -> None:
    words = ("--family", "accuracy,circular", "--samples", "600", "--trials", "6")
    flat, limit, drop = rows("series", *words)
    assert flat["false alarm"][0] + limit["false alarm"][0] <= 0.17
    assert sum(share for share, _ in drop["within three"].values()) >= 1.6
    assert json.dumps([flat, limit, drop])


@pytest.mark.slow
def test_an_evaluation_is_decided_early_and_rightly() -> None:
    words = ("--family", "accuracy", "--samples", "1000", "--trials", "40")
    flat, limit, drop = rows("looks", *words)
    assert flat["same"][0] >= 0.8 and flat["worse"][0] <= 0.15
    assert limit["worse"][0] <= 0.2 and limit["same"][0] <= 0.2
    assert drop["worse"][0] >= 0.8 and drop["median share asked"] <= 0.3


def test_looks_inside_a_series_share_its_error_equally() -> None:
    sides = Terms(planned=50, benchmarks=5, looks=LOOKS).sides
    assert (sides.worse, sides.better) == pytest.approx((0.0002, 0.0002))
    assert (sides.same, sides.looks) == (0.05, LOOKS)


@pytest.mark.slow
def test_error_rates_are_kept_for_every_shape_of_evidence() -> None:
    """Of 60 trainings three alarms are expected; more than eight come twice in a thousand."""
    words = ("--trials", "60", "--seconds", "600")
    for what in ("series", "inside"):
        flat, limit, drop = rows(what, *words)
        assert flat["false alarm"][0] <= 0.14 and limit["false alarm"][0] <= 0.14
        assert min(share for share, _ in drop["within three"].values()) >= 0.6
        if what == "inside":
            assert max(flat["healthy, median share asked"].values()) <= 0.25
    for row in rows("looks", *words):
        wrong = {"flat": ["worse"], "limit": ["worse", "same"], "drop": ["same"]}[row["truth"]]
        assert max(row[verdict][0] for verdict in wrong) <= 0.17, row
