from __future__ import annotations

import tracemalloc

import pytest

from infimm_eval.packed import Packed
from infimm_eval.types import Score

MANY = 2500
"""Several packs and a part of one."""


def score(number: int) -> Score:
    value = None if number % 7 == 0 else number / 3
    return Score(value, f"said {number}\ud800", number % 2 == 0, {"Bleu_4": 0.1 * number})


@pytest.fixture
def packed() -> Packed[Score]:
    return Packed(Score, map(score, range(MANY)))


def test_what_was_packed_is_read_back_to_the_last_digit(packed: Packed[Score]) -> None:
    assert len(packed) == MANY
    assert list(packed) == list(map(score, range(MANY)))


@pytest.mark.parametrize("at", [0, 1023, 1024, MANY - 1, -1, -MANY])
def test_any_of_them_can_be_asked_for(packed: Packed[Score], at: int) -> None:
    assert packed[at] == score(range(MANY)[at])


def test_a_slice_is_a_list(packed: Packed[Score]) -> None:
    assert packed[1020:1030:3] == [score(number) for number in range(1020, 1030, 3)]


@pytest.mark.parametrize("at", [MANY, -MANY - 1])
def test_there_is_none_beyond_the_ends(packed: Packed[Score], at: int) -> None:
    with pytest.raises(IndexError):
        packed[at]


def test_one_that_is_added_after_others_were_read_is_there(packed: Packed[Score]) -> None:
    assert packed[-1] == score(MANY - 1)
    for number in range(MANY, MANY + 1024):
        packed.append(score(number))
    assert [packed[at] for at in (MANY - 1, MANY, -1)] == list(
        map(score, (MANY - 1, MANY, MANY + 1023))
    )


@pytest.mark.slow
def test_they_take_a_fraction_of_what_they_would_as_objects() -> None:
    def size(make: type[list[Score]] | type[Packed[Score]]) -> int:
        scores = (Score(number % 4 / 3, "yes" * (number % 2)) for number in range(20_000))
        before = tracemalloc.get_traced_memory()[0]
        kept = list(scores) if make is list else Packed(Score, scores)
        after = tracemalloc.get_traced_memory()[0]
        assert len(kept) == 20_000
        return after - before

    tracemalloc.start()
    try:
        assert size(Packed) < size(list) / 10
    finally:
        tracemalloc.stop()
