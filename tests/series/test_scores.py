"""Scores between two runs: what they are worth, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from infimm_eval import stats
from infimm_eval.errors import UsageError
from infimm_eval.series.scores import alone, changes, difference, differences
from infimm_eval.types import Unit
from tests.series.conftest import Chain, units


def stratified(rng: np.random.Generator, pictures: int) -> list[Unit]:
    """Three sub-tasks; a picture has two questions, and a point where both are right."""
    made = []
    for at in range(pictures):
        right = rng.random(2) < 0.7
        kind = f"task {at % 3}"
        made += [Unit(f"{at}#{k}", f"{at}", float(right[k]), stratum=kind) for k in range(2)]
        made.append(Unit(f"{at}", f"{at}", float(right.all()), stratum=f"{kind} plus"))
    return made


def test_a_difference_agrees_with_the_one_that_compare_bootstraps() -> None:
    rng = np.random.default_rng(0)
    base, new = stratified(rng, 300), stratified(rng, 300)
    found, usual = difference(changes(base, new)), stats.paired(base, new)
    assert found.value == pytest.approx(usual.value)
    assert found.error == pytest.approx(usual.error, rel=0.05)
    assert found.share == pytest.approx(usual.share)
    assert found.detectable == pytest.approx(usual.detectable, rel=0.05)


def test_one_stratum_is_scored_by_the_self_normalised_sum() -> None:
    rng = np.random.default_rng(1)
    base, new = rng.random(80), rng.random(80) - 0.2
    gap = -(new - base) * 100 - 5.0
    score = difference(changes(units(base), units(new))).drop(5.0)
    assert score == pytest.approx(gap.sum() / np.sqrt((gap**2).sum()), rel=0.01)


def test_a_handful_of_lost_answers_never_looks_like_many_standard_errors() -> None:
    base = units([1.0] * 1000)
    lost = [replace(unit, value=0.0) if at < 9 else unit for at, unit in enumerate(base)]
    found = difference(changes(base, lost))
    assert 2.5 < found.drop(0.0) <= 3.0


def test_runs_that_agree_in_everything_score_nought_and_prove_little() -> None:
    base = units([1.0, 0.0] * 50)
    found = difference(changes(base, base))
    assert (found.drop(0.0), found.gain()) == (0.0, 0.0)
    assert found.calm(1.0) < found.calm(10.0) < 10.0
    low, high = found.interval(2.0)
    assert low < 0 < high


def test_a_picture_that_one_checkpoint_lacks_is_left_out_of_all(trained: Chain) -> None:
    base, first, second = trained(np.random.default_rng(2), 200, [0.0, 0.1])
    both = differences([changes(base, first), changes(base, second[:150])])
    alike = differences([changes(base[:150], run[:150]) for run in (first, second)])
    assert [d.value for d in both] == pytest.approx([d.value for d in alike])
    assert [d.error for d in both] == pytest.approx([d.error for d in alike])


def test_a_run_against_nought_is_its_headline() -> None:
    run = stratified(np.random.default_rng(3), 60)
    found = difference(alone(run))
    by_stratum: dict[str, list[float]] = {}
    for unit in run:
        by_stratum.setdefault(unit.stratum, []).append(unit.value)
    assert found.value == pytest.approx(100 * sum(np.mean(v) for v in by_stratum.values()))


def test_runs_that_cannot_be_paired_are_refused_in_a_line() -> None:
    base = units([1.0, 0.0])
    for other, said in (
        ([Unit("other", "", 1.0)], "no scored sample in common"),
        ([base[0], base[0]], "two scores"),
        ([replace(base[0], weight=2.0)], "weighs"),
    ):
        with pytest.raises(UsageError, match=said):
            changes(base, other)
    with pytest.raises(UsageError, match="no picture is scored in all"):
        differences([changes(base, base[:1]), changes(base, base[1:])])
