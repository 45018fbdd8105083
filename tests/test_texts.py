"""Names in the order in which people count, and lines that a terminal can show."""

from __future__ import annotations

import random

from infimm_eval.texts import aligned, natural, printable


def test_names_are_sorted_as_people_count() -> None:
    names = [
        "grade 1",
        "Grade 2",
        "grade 10",
        "grade 010",
        "grade 11",
        "step",
        "step-9",
        "step-10b",
    ]
    mixed = random.Random(0).sample(names, len(names))
    assert sorted(sorted(mixed), key=natural) == [
        *("grade 1", "Grade 2", "grade 010", "grade 10", "grade 11"),
        *("step", "step-9", "step-10b"),
    ]


def test_any_two_names_have_an_order() -> None:
    names = ["", "1", "a", "a1", "1a", "\u00b2", "\u0663", "9" * 5000, "a9b", "a9b10"]
    assert len(sorted(names, key=natural)) == len(names)
    assert natural("8" * 5000) < natural("9" * 5000) < natural("1" + "0" * 5000)


def test_columns_stand_below_each_other_and_empty_ones_are_left_out() -> None:
    rows = [("name", "n", "note"), ("a", "1", ""), ("\u6f22\u5b57", "1,000", "")]
    assert aligned(rows, right={1}) == ["name      n", "a         1", "\u6f22\u5b57  1,000"]


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert printable("a\x1b[31m\u202eb\nc\u200d") == "a\\u001b[31m\\u202eb\nc\u200d"
