"""Asking in a fixed random order, and stopping when it is decided."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from infimm_eval.series.looks import LOOKS, Sides, asking_order, judge_look, nested
from infimm_eval.series.scores import changes
from tests.series.conftest import Chain, units


def test_the_order_hangs_on_names_and_seed_alone() -> None:
    groups = [f"picture {at // 2}" for at in range(60)]
    kinds = ["small" if at < 10 else "large" for at in range(60)]
    order = asking_order(groups, kinds)
    backwards = asking_order(groups[::-1], kinds[::-1])
    assert [groups[at] for at in order] == [groups[::-1][at] for at in backwards]
    assert sorted(order) == list(range(60))
    assert order != asking_order(groups, kinds, seed=1)


def test_pictures_stay_together_and_sub_tasks_take_turns() -> None:
    groups = [f"picture {at // 2}" for at in range(60)]
    kinds = ["small" if at < 10 else "large" for at in range(60)]
    asked = [groups[at] for at in asking_order(groups, kinds)]
    assert asked[::2] == asked[1::2]
    kind_of = dict(zip(groups, kinds, strict=True))
    assert [kind_of[name] for name in asked[:20:2]].count("small") == 5


def test_a_smaller_share_is_the_beginning_of_a_larger_one() -> None:
    groups = [f"picture {at % 50}" for at in range(200)]
    order = asking_order(groups, ["" for _ in groups])
    parts = [nested(order, groups, share) for share in (0.02, 0.1, 0.5, 1.0)]
    for small, large in itertools.pairwise(parts):
        assert large[: len(small)] == small
    assert [len({groups[at] for at in part}) for part in parts] == [2, 5, 25, 50]


def test_the_order_is_random() -> None:
    firsts = [asking_order(list("abcde"), [""] * 5, seed)[0] for seed in range(500)]
    assert np.bincount(firsts) == pytest.approx([100] * 5, abs=40)


def looked(base: list, new: list, *, allowed: float = 0.0, worth: float = 8.0) -> tuple[str, float]:
    order = asking_order([unit.cluster for unit in base], ["" for _ in base])
    for at, share in enumerate(LOOKS):
        asked = [new[place] for place in order[: round(share * len(order))]]
        look = judge_look(changes(base, asked), Sides(), at, allowed=allowed, worth=worth)
        if look.decided:
            break
    return look.verdict, look.asked


def test_plain_cases_are_decided_before_all_is_asked(trained: Chain) -> None:
    base, same, worse, better = trained(np.random.default_rng(0), 2000, [0.0, 0.4, -0.4])
    for run, worth, verdict in (
        (same, 8.0, "same"),
        (worse, 8.0, "worse"),
        (better, 3.0, "better"),
    ):
        said, asked = looked(base, run, worth=worth)
        assert said == verdict
        assert asked <= 0.5


def test_a_drop_within_the_tolerance_is_not_worse(trained: Chain) -> None:
    base, new = trained(np.random.default_rng(1), 2000, [0.05])
    assert looked(base, new, allowed=10.0, worth=10.0)[0] == "same"


def test_too_few_pictures_are_no_look() -> None:
    base = units([1.0] * 100)
    look = judge_look(changes(base, base[:7]), Sides(), 0, worth=5.0)
    assert (look.verdict, look.difference, look.interval) == ("undecided", None, None)
    with pytest.raises(ValueError, match="worth seeing"):
        judge_look(changes(base, base), Sides(), 9, allowed=2.0, worth=1.0)
