"""Intervals, paired tests and tables, with scipy and statsmodels as oracles."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from infimm_eval.errors import UsageError
from infimm_eval.stats import holm, interval, over_seeds, paired
from infimm_eval.stats.clusters import gather
from infimm_eval.stats.intervals import _student
from infimm_eval.stats.pairs import swapping_p
from infimm_eval.types import Unit


def alone(values: Sequence[float]) -> list[Unit]:
    return [Unit(str(i), "", float(v)) for i, v in enumerate(values)]


def pictures(rng: np.random.Generator, count: int, each: int = 4) -> list[Unit]:
    """VQA-like scores: questions about one picture share its difficulty."""
    units = []
    for picture in range(count):
        ease = rng.beta(1.2, 0.8)
        for question in range(each):
            value = rng.choice([0, 0.3, 0.6, 0.9, 1.0]) if rng.random() < ease else 0.0
            units.append(Unit(f"{picture}-{question}", f"p{picture}", float(value)))
    return units


def mme_like(rng: np.random.Generator, tasks: int = 3, count: int = 20) -> list[Unit]:
    units = []
    for task in range(tasks):
        for picture in range(count):
            name = f"{task}/{picture}"
            both = rng.random(2) < 0.75
            for k, right in enumerate(both):
                units.append(Unit(f"{name}#{k}", name, float(right), stratum=f"{task} acc"))
            units.append(Unit(name, name, float(both.all()), stratum=f"{task} acc+"))
    return units


# -- intervals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "n"), [(0, 50), (50, 50), (17, 40), (1, 1), (0, 3), (613, 1000)])
def test_right_or_wrong_answers_get_wilsons_interval(right: int, n: int) -> None:
    expected = proportion_confint(right, n, method="wilson")
    found = interval(alone([1.0] * right + [0.0] * (n - right)))
    assert found == pytest.approx([100 * x for x in expected], abs=1e-9)


def test_the_bootstrap_of_a_mean_agrees_with_students_interval() -> None:
    values = np.random.default_rng(3).gamma(2, 0.6, 400)
    low, high = oracle.t.interval(0.95, 399, values.mean(), oracle.sem(values))
    found = interval(alone(values), scale=1.0)
    assert found is not None
    assert found == pytest.approx((low, high), abs=0.2 * (high - low) / 2)


def test_pictures_are_resampled_whole() -> None:
    one_by_one = alone([float(i % 4 == 0) * 0.6 for i in range(400)])
    four_times = [Unit(f"{u.id}-{k}", u.id, u.value) for u in one_by_one for k in range(4)]
    small, large = interval(one_by_one), interval(four_times)
    assert small is not None and large is not None
    assert large[1] - large[0] == pytest.approx(small[1] - small[0], rel=0.05)


def test_the_order_of_units_does_not_matter() -> None:
    units = mme_like(np.random.default_rng(0)) + pictures(np.random.default_rng(1), 30)
    shuffled = units.copy()
    random.Random(0).shuffle(shuffled)
    assert interval(units) == interval(shuffled)


@pytest.mark.slow
def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    true = 100 * 0.56 * 0.6  # mean of the scores x mean ease of Beta(1.2, 0.8)
    bounds = [interval(pictures(rng, 40), resamples=500) for _ in range(400)]
    held = np.mean([b is not None and b[0] <= true <= b[1] for b in bounds])
    assert 0.93 <= held <= 0.975


@pytest.mark.slow
def test_intervals_over_many_small_strata_hold_the_true_value() -> None:
    rng = np.random.default_rng(6)
    true = 100 * 3 * (0.75 + 0.75**2)
    bounds = [interval(mme_like(rng), resamples=500) for _ in range(400)]
    held = np.mean([b is not None and b[0] <= true <= b[1] for b in bounds])
    assert 0.92 <= held <= 0.975


def test_all_right_is_not_certain() -> None:
    units = mme_like(np.random.default_rng(0))
    found = interval([Unit(u.id, u.cluster, 1.0, 1.0, u.stratum) for u in units])
    assert found is not None
    assert found[1] == pytest.approx(600) and 400 < found[0] < 560


def test_a_handful_of_pictures_gets_a_wide_interval_instead_of_a_false_one() -> None:
    found = interval([Unit(str(i), "same picture", float(i % 2)) for i in range(100)])
    assert found is not None and found[1] - found[0] > 80


def test_where_nothing_can_be_said_nothing_is_said() -> None:
    assert interval([]) is None
    assert interval(alone([1.3])) is None
    assert interval(alone([1.3, 0.2, 0.8])) is None
    assert interval(alone([1.3] * 20)) is None


def test_weights_count_within_their_stratum() -> None:
    rng = np.random.default_rng(2)
    units = [Unit(str(i), "", float(rng.random() < 0.5), 1 + i % 2) for i in range(600)]
    heavy, light = ([u.value for u in units if u.weight == w] for w in (2, 1))
    mean = (2 * np.sum(heavy) + np.sum(light)) / 900
    found = interval(units, scale=1.0)
    assert found is not None
    assert (found[0] + found[1]) / 2 == pytest.approx(mean, abs=0.01)
    expected = 1.96 * math.sqrt(0.25 * (300 * 4 + 300)) / 900
    assert (found[1] - found[0]) / 2 == pytest.approx(expected, rel=0.08)


def test_a_stratum_that_hangs_on_one_picture_does_not_break_the_bootstrap() -> None:
    units = [*pictures(np.random.default_rng(0), 20), Unit("x", "lonely", 0.5, 1.0, "rare")]
    found = interval(units)
    assert found is not None and found[0] < found[1]


@pytest.mark.parametrize("bad", [Unit("a", "", math.nan), Unit("a", "", 1.0, 0.0)])
def test_a_unit_without_a_number_is_refused(bad: Unit) -> None:
    with pytest.raises(ValueError, match="finite"):
        interval([bad])


def test_students_quantile_is_near_enough() -> None:
    for freedom in (7, 12, 30, 1000):
        assert _student(1.959964, freedom) == pytest.approx(oracle.t.ppf(0.975, freedom), rel=4e-3)


@pytest.mark.slow
def test_the_whole_of_vqav2_takes_under_two_seconds() -> None:
    values = np.random.default_rng(0).choice([0, 0.3, 0.6, 0.9, 1.0], 214_354)
    units = [Unit(str(i), str(i // 5), float(v)) for i, v in enumerate(values)]
    start = time.process_time()
    interval(units)
    assert time.process_time() - start < 2


# -- paired differences ------------------------------------------------------------------------


@pytest.mark.parametrize(("fixed", "broken"), [(3, 12), (0, 5), (7, 7), (0, 0), (40, 90)])
def test_accuracies_are_compared_by_mcnemars_exact_test(fixed: int, broken: int) -> None:
    base = alone([0.0] * fixed + [1.0] * broken + [1.0] * 50)
    new = alone([1.0] * fixed + [0.0] * broken + [1.0] * 50)
    found = paired(base, new)
    expected = oracle.binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert found.p == pytest.approx(expected)
    assert found.value == pytest.approx(100 * (fixed - broken) / (fixed + broken + 50))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1).filter(lambda x: abs(x) > 1e-3), min_size=2, max_size=10))
def test_few_changes_are_gone_through_one_by_one(changes: list[float]) -> None:
    expected = oracle.permutation_test(
        (np.array(changes),), lambda x, axis: x.sum(axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    found = swapping_p(np.array(changes), 1000, 0)
    assert found == pytest.approx(expected.pvalue, abs=1e-3)


def test_many_changes_are_sampled_and_agree_with_a_t_test() -> None:
    changes = np.random.default_rng(1).normal(0.03, 0.3, 500)
    expected = oracle.ttest_1samp(changes, 0).pvalue
    assert swapping_p(changes, 20_000, 0) == pytest.approx(expected, rel=0.15)


def test_a_picture_is_swapped_whole() -> None:
    base = [Unit(f"{p}-{k}", f"p{p}", 1.0) for p in range(6) for k in range(50)]
    new = [Unit(u.id, u.cluster, 0.0 if u.cluster == "p0" else 1.0) for u in base]
    assert paired(base, new).p == 1.0
    by_question = paired(alone([1.0] * 300), alone([0.0] * 50 + [1.0] * 250))
    assert by_question.p < 1e-6


def test_the_paired_interval_agrees_with_students() -> None:
    rng = np.random.default_rng(4)
    base = rng.gamma(2, 0.5, 500)
    new = base + rng.normal(0.05, 0.2, 500)
    low, high = oracle.t.interval(0.95, 499, (new - base).mean(), oracle.sem(new - base))
    found = paired(alone(base), alone(new), scale=1.0)
    assert found.interval == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found.error == pytest.approx((high - low) / 3.93, rel=0.06)


def test_strata_of_one_picture_each_still_have_a_wide_interval() -> None:
    base = [Unit(str(i), "", 1.0, 1.0, f"stratum {i}") for i in range(10)]
    new = [Unit(u.id, "", i / 10, 1.0, u.stratum) for i, u in enumerate(base)]
    found = paired(base, new)
    assert found.interval[1] - found.interval[0] > found.error > 100 * 1.5


def test_what_only_one_run_has_is_left_out() -> None:
    found = paired(alone([1.0, 0.0, 1.0]), alone([1.0, 1.0]))
    assert (found.n, found.value) == (2, 50.0)


def test_strata_differ_each_by_its_own_size() -> None:
    base = [Unit("a", "", 1.0, 1.0, "x"), *(Unit(str(i), "", 1.0, 1.0, "y") for i in range(4))]
    new = [Unit("a", "", 0.0, 1.0, "x"), *(Unit(str(i), "", i / 4, 1.0, "y") for i in range(4))]
    assert paired(base, new).value == pytest.approx(100 * (-1 + 0.375 - 1))


def test_a_sample_that_changed_its_weight_is_a_users_mistake() -> None:
    with pytest.raises(UsageError, match="weighs 1 in one run and 2"):
        paired([Unit("a", "", 1.0)], [Unit("a", "", 1.0, 2.0)])


def test_runs_that_share_nothing_are_a_users_mistake() -> None:
    with pytest.raises(UsageError, match="no scored sample in common"):
        paired([Unit("a", "", 1.0)], [Unit("b", "", 1.0)])


def test_two_scores_for_one_sample_are_a_users_mistake() -> None:
    with pytest.raises(UsageError, match="two scores"):
        paired(alone([1.0]) * 2, alone([1.0]))


def test_an_allowed_drop_is_not_held_against_the_new_run() -> None:
    base = alone([1.0] * 1000)
    new = alone([0.0] * 50 + [1.0] * 950)
    found = paired(base, new)
    assert found.beyond(0) < 1e-3
    assert found.beyond(2) < 0.01
    assert found.beyond(4.9) > 0.5
    assert found.beyond(6) == 1.0


def test_a_rise_is_never_a_drop() -> None:
    found = paired(alone([0.0] * 50), alone([1.0] * 50))
    assert found.p < 1e-9 and found.beyond(0) == 1.0


def test_identical_runs_differ_in_nothing_and_still_claim_no_perfect_sight() -> None:
    units = pictures(np.random.default_rng(0), 50)
    found = paired(units, units)
    assert (found.value, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)
    assert found.detectable > 0


@pytest.mark.slow
@pytest.mark.parametrize(("n", "noise"), [(200, 0.2), (400, 0.04), (100, 0.0)])
def test_what_is_detectable_is_detected_four_times_in_five(n: int, noise: float) -> None:
    rng = np.random.default_rng(n)

    def run(lost: float) -> list[Unit]:
        return alone((rng.random(n) > noise / 2) & (rng.random(n) >= lost))

    detectable = np.mean([paired(run(0), run(0), resamples=200).detectable for _ in range(40)])
    seen = [paired(run(0), run(detectable / 100), resamples=200) for _ in range(400)]
    assert 0.72 <= np.mean([d.p <= 0.05 and d.value < 0 for d in seen]) <= 0.92


def test_growth_says_how_many_times_the_samples_a_drop_takes() -> None:
    rng = np.random.default_rng(0)
    base, new = pictures(rng, 60), pictures(rng, 60)
    found = paired(base, new)
    assert found.growth(found.detectable) == pytest.approx(1)
    assert found.growth(2 * found.detectable) == 1.0
    assert found.growth(0) == math.inf
    again = [[Unit(f"{k}{u.id}", f"{k}{u.cluster}", u.value) for k in range(5) for u in units]
             for units in (base, new)]  # fmt: skip
    assert found.growth(paired(*again).detectable) == pytest.approx(5, rel=0.1)


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.slow  # statsmodels takes its time
@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_holms(ps: list[float]) -> None:
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_seeds_have_a_mean_and_a_deviation() -> None:
    assert over_seeds([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert over_seeds([5.0]) == (5.0, None)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=30))
def test_gathering_keeps_every_unit(clusters: list[str]) -> None:
    units = [Unit(str(i), c, 1.0, 2.0, str(i % 2)) for i, c in enumerate(clusters)]
    found = gather(units)
    assert found.bottom_CS.sum() == 2 * len(units)
    assert len(found.top_CS) == clusters.count("") + len(set(clusters) - {""})


@pytest.mark.slow
def test_the_last_digit_of_an_interval_does_not_depend_on_the_number_of_threads() -> None:
    code = (
        "import random; from infimm_eval import stats; from infimm_eval.types import Unit; "
        "r = random.Random(0); "
        "units = [Unit(str(i), str(i // 2), r.random(), 1.0, 'ab'[i % 2]) for i in range(6000)]; "
        "print(repr(stats.interval(units)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(told) == 1
