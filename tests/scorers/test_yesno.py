"""Hearing a yes or a no."""

from __future__ import annotations

import pytest

from infimm_eval.scorers import yesno
from tasks.mme import scorers as mme
from tests.scorers.cases import golden, record, scores


@pytest.mark.parametrize(
    ("read", "official"),
    [
        (mme.read_official, "official_without_newline"),
        (mme.read_lmms, "lmms_eval"),
        (mme.read_vlmevalkit, "vlmevalkit_prefetch"),
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
    (score,) = scores(mme.official, [record(said, ["Yes"])])
    assert (score.value, score.parsed) == (value, parsed)


def test_a_question_without_an_answer_is_left_unscored():
    assert scores(mme.lmms, [record("yes")])[0].value is None


@pytest.mark.parametrize(
    ("said", "heard"),
    [("Yes.", "yes"), ("It is NO", "no"), ("yes, yes", "yes"), ("yes or no", ""), ("nothing", "")],
)
def test_the_plain_reading_hears_either_word_but_not_both(said, heard):
    (score,) = scores(yesno.plain, [record(said, ["Yes"])])
    assert (score.read_as, score.parsed, score.value) == (heard, heard != "", heard == "yes")
