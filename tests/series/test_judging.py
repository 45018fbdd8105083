"""Verdicts over the checkpoints of one training."""

from __future__ import annotations

import numpy as np

from infimm_eval.series.judging import Terms, judge, judge_early
from infimm_eval.series.scores import changes
from infimm_eval.series.thresholds import BASELINE
from tests.series.conftest import Chain


def test_a_lasting_drop_is_an_alarm_and_what_lies_before_it_is_not(trained: Chain) -> None:
    base, *runs = trained(np.random.default_rng(0), 1500, [0.0] * 5 + [0.25] * 3)
    terms = Terms(planned=8, benchmarks=2)
    said = judge([changes(base, run) for run in runs], terms, worth=15.0)
    assert [j.alarm for j in said] == [False] * 5 + [True] * 3
    assert {j.verdict for j in said[:5]} == {"same"}
    assert {j.verdict for j in said[5:]} == {"worse"}
    assert {j.reference for j in said} == {BASELINE}
    assert all(j.interval[0] < j.difference.value < j.interval[1] for j in said)


def test_below_the_best_so_far_is_an_alarm_where_above_the_baseline_is_none(
    trained: Chain,
) -> None:
    base, *runs = trained(np.random.default_rng(1), 1500, [-0.3] * 3 + [0.0] * 2)
    made = [changes(base, run) for run in runs]
    plain, best = (judge(made, Terms(planned=5, best=best), worth=15.0) for best in (False, True))
    assert not any(j.alarm for j in plain)
    assert plain[0].verdict == "better"
    assert [j.alarm for j in best] == [False] * 3 + [True] * 2
    assert {j.reference for j in best[3:]} <= {0, 1, 2}


def test_an_allowed_drop_is_no_alarm(trained: Chain) -> None:
    base, *runs = trained(np.random.default_rng(2), 1500, [0.05] * 4)
    said = judge([changes(base, run) for run in runs], Terms(planned=4), allowed=9.0)
    assert {j.verdict for j in said} == {"same"}


def test_what_was_said_stays_said(trained: Chain) -> None:
    base, *runs = trained(np.random.default_rng(3), 600, [0.0] * 6)
    made = [changes(base, run) for run in runs]
    settled: list[float] = []
    for count in range(1, 7):
        settled.append(judge(made[:count], Terms(planned=6), settled=settled)[-1].threshold)
    assert [j.threshold for j in judge(made, Terms(planned=6), settled=settled)] == settled


def test_looks_inside_a_series_have_each_checkpoints_part_of_the_error(trained: Chain) -> None:
    base, new = trained(np.random.default_rng(4), 2000, [0.1])
    terms = Terms(planned=50, benchmarks=5, looks=(0.5, 1.0))
    strict, lone = (
        judge_early(changes(base, new), t, 1, allowed=0.0, worth=8.0)
        for t in (terms, Terms(planned=1, looks=(0.5, 1.0)))
    )
    assert lone.interval is not None and strict.interval is not None
    assert strict.interval[0] < lone.interval[0]
    assert lone.verdict == "worse"
