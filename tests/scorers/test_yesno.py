"""Hearing a yes or a no."""

from __future__ import annotations

import pytest

from infimm_eval.scorers import yesno
from tests.scorers.cases import golden, record, scores


@pytest.mark.parametrize(
    ("read", "official"),
    [
        (yesno.read_official, "official_without_newline"),
        (yesno.read_lmms, "lmms_eval"),
        (yesno.read_vlmevalkit, "vlmevalkit_prefetch"),
    ],
)
def test_every_reading_hears_what_its_original_hears(read, official):
    neither = {"other": "", "unknown": ""}
    cases = golden("mme_parsing")["cases"]
    expected = {c["id"]: neither.get(c[official].lower(), c[official].lower()) for c in cases}
    assert {case["id"]: read(case["response"]) for case in cases} == expected


@pytest.mark.parametrize(
    ("said", "value", "parsed"),
    [("Yes, a cat.", 1.0, True), ("no", 0.0, True), ("Perhaps", 0.0, False)],
)
def test_what_is_neither_counts_as_wrong_and_as_unread(said, value, parsed):
    (score,) = scores(yesno.official, [record(said, ["Yes"])])
    assert (score.value, score.parsed) == (value, parsed)


def test_a_question_without_an_answer_is_left_unscored():
    assert scores(yesno.lmms, [record("yes")])[0].value is None
