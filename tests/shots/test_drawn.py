from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimm_eval.errors import UsageError
from infimm_eval.shots import Shots, pool
from infimm_eval.types import Sample

TRAIN = [Sample(id=f"t{n}", target="x", group=f"g{n // 2}") for n in range(40)]


def ids(samples: list[Sample]) -> list[str]:
    return [sample.id for sample in samples]


def test_a_draw_depends_on_seed_task_and_sample_alone() -> None:
    shots = Shots("vqav2", 0, TRAIN)
    query = Sample(id="q")
    first = ids(shots.pick(query, 4))
    for other in range(20):  # whatever was drawn in between
        shots.pick(Sample(id=f"other{other}"), 4)
    assert ids(shots.pick(query, 4)) == first == ids(Shots("vqav2", 0, TRAIN).pick(query, 4))
    assert first != ids(Shots("vqav2", 1, TRAIN).pick(query, 4))
    assert first != ids(Shots("coco", 0, TRAIN).pick(query, 4))
    assert first != ids(shots.pick(Sample(id="another"), 4))


def test_the_draw_itself_is_pinned() -> None:
    """Were this to change, every few-shot number would: raise the tasks' versions then."""
    picked = Shots("vqav2", 0, TRAIN).pick(Sample(id="q"), 4)
    assert ids(picked) == PINNED


PINNED = ["t20", "t8", "t22", "t30"]


@given(st.integers(0, 39), st.integers(0, 8))
def test_a_shot_is_never_the_query_nor_another_question_about_its_picture(
    query: int, count: int
) -> None:
    sample = TRAIN[query]
    picked = Shots("vqav2", 0, TRAIN).pick(sample, count)
    assert len(set(ids(picked))) == count
    assert all(shot.id != sample.id and shot.group != sample.group for shot in picked)


def test_fewer_shots_are_the_first_of_more() -> None:
    shots, query = Shots("vqav2", 0, TRAIN), Sample(id="q")
    assert ids(shots.pick(query, 2)) == ids(shots.pick(query, 8))[:2]


def test_fixed_support_is_the_same_for_every_question() -> None:
    shots = Shots("vqav2", 0, TRAIN, "fixed")
    assert ids(shots.pick(Sample(id="a"), 4)) == ids(shots.pick(Sample(id="b"), 4))


def test_fixed_support_steps_aside_for_the_querys_own_picture() -> None:
    shots = Shots("vqav2", 0, TRAIN, "fixed")
    usual = shots.pick(Sample(id="a"), 4)
    picked = shots.pick(Sample(id="a", group=usual[0].group), 4)
    assert usual[0].id not in ids(picked) and len(picked) == 4


def test_too_small_a_pool_is_said_so() -> None:
    with pytest.raises(UsageError, match="4 shots asked for, the training rows give 2"):
        Shots("vqav2", 0, TRAIN[:2]).pick(Sample(id="q"), 4)


def test_the_pool_does_not_depend_on_the_order_of_rows() -> None:
    assert ids(pool(TRAIN, "coco", 0, 10)) == ids(pool(reversed(TRAIN), "coco", 0, 10))
    assert ids(pool(TRAIN, "coco", 0, 10)) != ids(pool(TRAIN, "coco", 1, 10))


def test_a_sample_without_an_answer_to_show_is_no_shot() -> None:
    assert ids(pool([*TRAIN, Sample(id="empty")], "coco", 0, 99)).count("empty") == 0
