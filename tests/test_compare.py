"""Verdicts and the gate, on cells made for the purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infimm_eval.compare import Cell, Tolerance, Tolerances, compare, gate, read_tolerances
from infimm_eval.compare.verdicts import Comparison, Row
from infimm_eval.errors import UsageError
from infimm_eval.types import Unit

PROTOCOL: Mapping[str, Any] = {"task_version": 1, "prompt": {"ask": "Question: {{ question }}"}}


def cell(values: Sequence[float], task: str = "vqav2", **changes: Any) -> Cell:
    made = Cell(
        task=task,
        title=task.upper(),
        shots=4,
        seed=0,
        model="some-model",
        headline="accuracy",
        value=100 * float(np.mean(values)) if len(values) else None,
        scale=100.0,
        n=len(values),
        unscored=0,
        complete=True,
        settings={"protocol": PROTOCOL, "model": {"fingerprint": "a1"}},
        units=[Unit(str(i), f"picture {i}", float(v)) for i, v in enumerate(values)],
    )
    return replace(made, **changes)


def answers(right: int, wrong: int) -> list[float]:
    return [1.0] * right + [0.0] * wrong


def only(comparison: Comparison) -> Row:
    (row,) = comparison.rows
    return row


def protocol(**changes: Any) -> dict[str, Any]:
    return {"protocol": {**PROTOCOL, **changes}, "model": {"fingerprint": "b2"}}


# -- verdicts ----------------------------------------------------------------------------------


def test_a_clear_drop_is_worse_and_stops_the_build() -> None:
    found = compare([cell(answers(90, 10))], [cell(answers(60, 40))])
    row = only(found)
    assert row.verdict == "worse" and row.regressed
    assert row.difference is not None and row.difference.value == pytest.approx(-30)
    assert (gate(found).code, gate(found).sentence) == (1, "Regression: VQAV2, 4-shot.")


def test_a_clear_rise_is_better_and_passes() -> None:
    found = compare([cell(answers(60, 40))], [cell(answers(90, 10))])
    assert only(found).verdict == "better" and gate(found).code == 0


def test_a_run_compared_with_itself_is_the_same() -> None:
    found = compare([cell(answers(60, 40))], [cell(answers(60, 40))])
    assert only(found).verdict == "same" and gate(found).code == 0 and not only(found).changes


def test_few_samples_are_inconclusive_and_say_how_many_more_it_takes() -> None:
    base, new = answers(60, 40), answers(60, 40)
    new[0], new[1], new[70] = 0.0, 0.0, 1.0
    row = only(compare([cell(base)], [cell(new)]))
    assert row.verdict == "inconclusive" and row.difference is not None and row.more is not None
    assert row.worth_seeing == pytest.approx(1.2) and row.difference.detectable > 1.2
    assert row.more == pytest.approx(100 * (row.difference.growth(1.2) - 1), abs=1)


def test_a_wide_tolerance_turns_inconclusive_into_same() -> None:
    base, new = answers(60, 40), answers(60, 40)
    new[0], new[1], new[70] = 0.0, 0.0, 1.0
    row = only(compare([cell(base)], [cell(new)], Tolerances(Tolerance(15.0))))
    assert row.verdict == "same"


def test_the_samples_that_changed_are_listed_largest_losses_first() -> None:
    base, new = [1.0, 1.0, 0.3, 0.0], [1.0, 0.6, 1.0, 0.0]
    changes = only(compare([cell(base)], [cell(new)])).changes
    assert [(c.id, c.before, c.after) for c in changes] == [("1", 1.0, 0.6), ("2", 0.3, 1.0)]


def test_one_row_of_many_needs_stronger_evidence_than_one_alone() -> None:
    base, new = answers(100, 0), answers(93, 7)
    alone = compare([cell(base)], [cell(new)])
    among = compare(
        [cell(base), *(cell(base, f"other{i}") for i in range(9))],
        [cell(new), *(cell(base, f"other{i}") for i in range(9))],
    )
    assert gate(alone).code == 1 and gate(among).code == 0
    assert among.rows[0].p == pytest.approx(10 * 2 / 2**7)


# -- what cannot be compared -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"prompt": {"ask": "Q: {{ question }}"}},
            "prompt.ask: Question: {{ question }} against Q:",
        ),
        ({"task_version": 2}, "task_version: 1 against 2"),
        ({"data": {"revision": "f00"}}, "data.revision: nothing against f00"),
    ],
)
def test_other_settings_are_named_and_not_compared(changes: dict[str, Any], named: str) -> None:
    found = compare([cell(answers(5, 5))], [cell(answers(5, 5), settings=protocol(**changes))])
    row = only(found)
    assert row.verdict == "incomparable" and row.difference is None
    assert any(text.startswith(named) for text in row.differing)
    assert gate(found).code == 3


def test_force_compares_other_settings_and_still_names_them() -> None:
    other = cell(answers(50, 50), settings=protocol(task_version=2))
    found = compare([cell(answers(90, 10))], [other], force=True)
    row = only(found)
    assert row.verdict == "worse" and row.differing == ("task_version: 1 against 2",)
    assert gate(found).code == 1


def test_other_weights_of_the_model_are_the_point_and_compared() -> None:
    found = compare([cell(answers(5, 5))], [cell(answers(5, 5), settings=protocol())])
    assert only(found).verdict == "same"


def test_settings_from_a_file_equal_those_from_memory() -> None:
    ours, theirs = protocol(stop=("a", "b")), protocol(stop=["a", "b"])
    found = compare([cell([1.0], settings=ours)], [cell([1.0], settings=theirs)])
    assert not only(found).differing


def test_another_headline_cannot_be_forced() -> None:
    other = cell(answers(5, 5), headline="ANLS")
    row = only(compare([cell(answers(5, 5))], [other], force=True))
    assert row.verdict == "incomparable" and "accuracy x 100 against ANLS" in row.differing[0]


def test_a_task_at_other_shots_is_incomparable_not_missing() -> None:
    found = compare([cell(answers(5, 5))], [cell(answers(5, 5), shots=8)])
    assert only(found).verdict == "incomparable"
    assert only(found).differing == ("shots: 4 against 8",)


def test_a_missing_task_is_missing_and_a_new_one_is_added() -> None:
    found = compare([cell([1.0]), cell([1.0], "coco")], [cell([1.0]), cell([1.0], "mme")])
    assert [(r.task, r.verdict) for r in found.rows] == [
        ("vqav2", "same"), ("coco", "missing"), ("mme", "added"),
    ]  # fmt: skip
    assert gate(found).code == 3 and [r.task for r in gate(found).gaps] == ["coco"]


def test_a_regression_outweighs_what_is_missing() -> None:
    found = compare([cell(answers(90, 10)), cell([1.0], "coco")], [cell(answers(10, 90))])
    assert gate(found).code == 1


def test_samples_that_only_one_run_scored_are_a_gap() -> None:
    short = cell(answers(50, 40), limit=90, complete=False)
    found = compare([cell(answers(50, 50))], [short])
    assert gate(found).code == 3
    assert only(found).gaps == (
        "the runs scored different samples: 90 in both, 10 in the base alone, "
        "0 in the new run alone",
    )


def test_two_runs_under_the_same_limit_are_compared_like_any_other() -> None:
    short = cell(answers(50, 40), limit=90, complete=False)
    assert gate(compare([short], [short])).code == 0


def test_unscored_samples_are_a_gap_and_never_zeros() -> None:
    scored = cell(answers(50, 50))
    judged = replace(scored, units=scored.units[:98], unscored=2, complete=False)
    found = compare([scored], [judged])
    assert gate(found).code == 3 and only(found).verdict == "same"
    assert only(found).gaps == ("2 of 100 samples are unscored in the new run",)


def test_a_cell_without_any_score_is_incomparable() -> None:
    nothing = cell([], value=None, n=10, unscored=10, complete=False)
    found = compare([cell(answers(5, 5))], [nothing])
    assert only(found).verdict == "incomparable" and gate(found).code == 3
    assert only(found).new is not None and only(found).new.value is None  # type: ignore[union-attr]


def test_an_unfinished_run_is_a_gap() -> None:
    half = cell(answers(5, 5), complete=False, missing=3)
    assert only(compare([half], [half])).gaps == (
        "the base is not finished", "the new run is not finished",
    )  # fmt: skip


def test_a_sample_that_changed_its_weight_makes_its_row_incomparable() -> None:
    heavy = cell([1.0], units=[Unit("0", "picture 0", 1.0, 2.0)])
    found = only(compare([cell([1.0])], [heavy]))
    assert found.verdict == "incomparable" and "weighs 1 in one run and 2" in found.gaps[0]


@pytest.mark.parametrize("side", [0, 1])
def test_a_side_without_cells_or_of_two_models_is_a_users_mistake(side: int) -> None:
    good = [cell([1.0])]
    for bad, said in (
        ([], "no finished cell"),
        ([cell([1.0]), cell([1.0], "coco", model="other")], "several models"),
        ([cell([1.0]), cell([0.0])], "there twice"),
    ):
        sides = [good, good]
        sides[side] = bad
        with pytest.raises(UsageError, match=said):
            compare(*sides)


# -- seeds -------------------------------------------------------------------------------------


def test_seeds_are_averaged_sample_by_sample_into_one_row() -> None:
    base = [cell([1.0, 1.0, 0.0, 0.0], seed=s) for s in (0, 1)]
    new = [cell([1.0, 0.0, 0.0, 0.0]), cell([1.0, 1.0, 1.0, 0.0], seed=1)]
    row = only(compare(base, new))
    assert row.seeds == (0, 1) and row.difference is not None
    assert row.difference.value == pytest.approx(0) and row.difference.n == 4
    assert row.new is not None and row.new.value == 50
    assert row.new.deviation == pytest.approx(35.355, abs=1e-3)
    assert [(c.id, c.after) for c in row.changes] == [("1", 0.5), ("2", 0.5)]


def test_a_seed_that_the_new_run_lacks_is_a_gap() -> None:
    found = compare([cell([1.0], seed=s) for s in (0, 1, 2)], [cell([1.0], seed=1)])
    assert only(found).seeds == (1,)
    assert only(found).gaps == ("the new run lacks seed 0, 2",)


def test_runs_of_other_seeds_are_incomparable() -> None:
    found = compare([cell([1.0])], [cell([1.0], seed=7)])
    assert only(found).differing == ("seed: 0 against 7",)


# -- tolerances --------------------------------------------------------------------------------


def test_a_drop_within_the_tolerance_passes_though_it_is_real() -> None:
    found = compare([cell(answers(90, 10))], [cell(answers(80, 20))], Tolerances(Tolerance(15)))
    assert only(found).verdict == "worse" and not only(found).regressed and gate(found).code == 0


def test_a_drop_beyond_the_tolerance_stops_the_build() -> None:
    found = compare([cell(answers(90, 10))], [cell(answers(60, 40))], Tolerances(Tolerance(15)))
    assert gate(found).code == 1


def test_the_most_particular_tolerance_wins(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    file.write_text('default = "1%"\n[tasks]\ncoco = 2.5\n"coco@4" = "0.5%"\n')
    found = read_tolerances(file)
    assert found.of("vqav2", 0).drop(60.0) == pytest.approx(0.6)
    assert found.of("coco", 0).drop(60.0) == 2.5
    assert found.of("coco", 4).drop(60.0) == pytest.approx(0.3)
    assert found.updated(["coco@4=1", "3"]).of("coco", 4).drop(60.0) == 1.0
    assert found.updated(["coco@4=1", "3"]).of("mme", 4).drop(60.0) == 3.0


@pytest.mark.parametrize("text", ["-1", "coco=", "coco=much", "=1", "coco@x=1", "inf", "nan%"])
def test_a_tolerance_that_says_nothing_is_a_users_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        Tolerances().updated([text])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("default = ", "not a readable TOML"),
        ("defualt = 1", "did you mean 'default'"),
        ("tasks = 3", "should be a table"),
        ("default = true", "expected points"),
        ("[tasks]\ncoco = [1]", "expected points"),
    ],
)
def test_a_tolerance_file_that_makes_no_sense_is_a_users_mistake(
    tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_tolerances(file)


def test_a_tolerance_for_nothing_is_noted() -> None:
    found = compare([cell([1.0])], [cell([1.0])], Tolerances().updated(["vqa2=1", "vqav2@4=1"]))
    assert found.notes == ("the tolerance of vqa2 applies to nothing here",)
