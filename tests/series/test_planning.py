"""Sample sizes, against simulated power."""

from __future__ import annotations

import numpy as np
import pytest

from infimm_eval.errors import UsageError
from infimm_eval.series.planning import Pilot, plan, worth_seeing
from infimm_eval.series.scores import changes, difference
from infimm_eval.types import Unit
from tests.series.conftest import Chain, units


@pytest.mark.slow
def test_a_planned_number_of_samples_shows_the_drop_as_often_as_said(trained: Chain) -> None:
    rng = np.random.default_rng(0)
    base, new = trained(rng, 3000, [0.0])
    found = plan(base, new, 5.0)
    assert found.sure and found.clusters is not None
    assert found.low < found.clusters < found.high
    level = 100 * np.mean([unit.value for unit in new])
    seen = 0
    for _ in range(150):
        one, two = trained(rng, found.clusters, [5.0 / level])
        seen += difference(changes(one, two)).drop(0.0) > 1.96
    assert seen / 150 == pytest.approx(0.9, abs=0.075)


def test_a_pilot_in_which_little_changed_gives_a_range(trained: Chain) -> None:
    (base,) = trained(np.random.default_rng(1), 1000, [])
    new = [Unit(u.id, u.cluster, 1 - u.value) if at < 6 else u for at, u in enumerate(base)]
    found = plan(base, new, 2.0)
    assert not found.sure and "6 of 1000" in found.reason
    assert found.clusters is not None and found.high > 1.3 * found.clusters
    same = plan(base, base, 2.0)
    assert not same.sure and same.low <= (same.clusters or 0) < same.high


def test_a_baseline_alone_gives_a_range_that_holds_the_pilots_estimate(trained: Chain) -> None:
    base, new = trained(np.random.default_rng(2), 3000, [0.0])
    alone, pair = plan(base, None, 4.0), plan(base, new, 4.0)
    assert alone.clusters is None and not alone.sure
    assert pair.clusters is not None and alone.low < pair.clusters < alone.high


def test_sub_tasks_give_a_range() -> None:
    rng = np.random.default_rng(3)

    def run(pictures: int) -> list[Unit]:
        return [
            Unit(f"{at}#{k}", f"{at}", float(rng.random() < 0.7), stratum=f"task {at % 5}")
            for at in range(pictures)
            for k in range(2)
        ]

    assert "20 in each" in plan(run(40), run(40), 20.0).reason
    assert "few pictures" in plan(run(500), run(500), 20.0).reason


def test_agreement_is_the_correlation_of_runs(trained: Chain) -> None:
    base, new = trained(np.random.default_rng(4), 2000, [0.0])
    one, two = (np.array([unit.value for unit in run]) for run in (base, new))
    assert Pilot.of(base, new).agreement == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-6)


def test_the_drop_worth_seeing_is_one_that_the_benchmark_can_show(trained: Chain) -> None:
    base, new = trained(np.random.default_rng(5), 2000, [0.0])
    found = difference(changes(base, new)).detectable
    assert 1.3 * found < worth_seeing(base, 0.1) < 2.5 * found
    assert worth_seeing(base, 20.0) == 20.0
    assert worth_seeing(base[:200], 0.1) > 2 * worth_seeing(base, 0.1)


def test_what_cannot_be_planned_is_refused_in_a_line() -> None:
    base = units([1.0, 0.0] * 50)
    for drop, power, said in ((0.0, 0.9, "0 points"), (50.0, 0.9, "headline, 50.00"),
                              (float("nan"), 0.9, "nan points"), (5.0, 1.0, "power")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            plan(base, base, drop, power=power)
    with pytest.raises(UsageError, match="in common"):
        plan(base, [Unit("other", "", 1.0)], 5.0)
