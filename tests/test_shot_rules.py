"""The rules by which VL-ICL Bench's tasks choose their own shots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infimm_eval import registry
from infimm_eval.errors import UsageError
from infimm_eval.shots import Shots
from infimm_eval.types import Sample

Run = Callable[..., Any]


def shots(name: str) -> tuple[list[Sample], Shots]:
    """The demo's queries, and what picks their examples."""
    task = registry.load(name)
    assert task.source.demo is not None and task.shots is not None and task.shots.demo is not None
    pool = [task.sample(row) for row in task.shots.demo()]
    return [task.sample(row) for row in task.source.demo()], Shots(name, 0, pool, rule=task.support)


def test_two_classes_take_turns_and_which_is_first_is_tossed() -> None:
    queries, chosen = shots("open_mi")
    first = []
    for query in queries[:60]:
        names = [shot.target for shot in chosen.pick(query, 3)]
        assert names == names[:2] * 3
        assert query.target in names[:2] and names[0] != names[1]
        first.append(names[0] == query.target)
    assert 15 < sum(first) < 45


@pytest.mark.slow
def test_examples_are_those_that_the_query_brings() -> None:
    queries, chosen = shots("open_mi")
    for query in queries[:10]:
        assert all(shot.tags["query"] == query.id for shot in chosen.pick(query, 5))


def test_a_pair_is_shown_whole_the_same_one_first() -> None:
    queries, chosen = shots("matching_mi")
    for query in queries[:10]:
        picked = chosen.pick(query, 3)
        assert [shot.target for shot in picked] == ["yes", "no"] * 3
        assert [shot.tags["pair"] for shot in picked[::2]] == [s.tags["pair"] for s in picked[1::2]]


@pytest.mark.parametrize("name", ["operator_induction", "operator_induction_interleaved"])
def test_an_example_answers_by_the_operator_of_the_query(name: str) -> None:
    queries, chosen = shots(name)
    for query in queries[:10]:
        operator = query.tags["operator"]
        for shot in chosen.pick(query, 4):
            assert shot.target == shot.tags[operator] and shot.id.endswith(f"|{operator}")


@pytest.mark.parametrize("name", ["open_mi", "matching_mi", "operator_induction"])
def test_fewer_shots_are_the_first_of_more(name: str) -> None:
    queries, chosen = shots(name)
    for query in queries[:5]:
        few, more = chosen.pick(query, 2), chosen.pick(query, 5)
        assert few == more[: len(few)]


@pytest.mark.parametrize("name", ["open_mi", "matching_mi", "operator_induction"])
def test_more_shots_than_there_are_is_one_line(name: str) -> None:
    queries, chosen = shots(name)
    with pytest.raises(UsageError, match=r"1000 shots asked for, there are \d+ .*; use fewer"):
        chosen.pick(queries[0], 1000)


def test_the_rule_stands_in_the_protocol_and_only_where_there_is_one(run: Run) -> None:
    (cell,) = run("open_mi", limit=2, shots=(2,))
    protocol = cell.settings["protocol"]
    assert (protocol["support_rule"], protocol["shots"]) == ("by_class", 2)
    (cell,) = run("clevr", limit=2, shots=(2,))
    assert "support_rule" not in cell.settings["protocol"]
