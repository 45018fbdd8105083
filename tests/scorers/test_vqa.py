"""VQA accuracy in its three dialects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infimm_eval.scorers import vqa
from tests.scorers.cases import golden, percent, read_json, real, record, scores

CASES = golden("vqa_accuracy")["cases"]


@pytest.mark.parametrize(
    ("scorer", "official"),
    [
        (vqa.always, "always_normalise"),
        (vqa.official, "official_gtvisionlab_head"),
        (vqa.evalai, "m4c_evalai"),
    ],
)
def test_every_dialect_gives_the_official_accuracy(scorer, official):
    records = [record(case["prediction"], case["answers"]) for case in CASES]
    wrong = {
        case["id"]: (score.value, case["expected"][official])
        for case, score in zip(CASES, scores(scorer, records), strict=True)
        if score.value != pytest.approx(case["expected"][official], abs=1e-12)
    }
    assert len(CASES) > 200 and not wrong


def test_texts_are_normalised_as_the_official_code_does():
    for case in CASES:
        expected = case["normalised"]
        assert vqa.normalise(case["prediction"]) == expected["prediction_vqa"], case["id"]
        assert vqa.normalise_evalai(case["prediction"]) == expected["prediction_m4c"], case["id"]
        assert [vqa.normalise(a) for a in case["answers"]] == expected["answers_vqa"]
        assert [vqa.normalise_evalai(a) for a in case["answers"]] == expected["answers_m4c"]


@pytest.mark.parametrize(("count", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1)])
def test_each_person_is_left_out_once(count, value):
    assert vqa.agreement("red", ["red"] * count + ["blue"] * (10 - count)) == value


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.sampled_from("abcd"))
def test_the_closed_form_is_the_mean_over_leaving_one_out(people, said):
    rest = (people[:i] + people[i + 1 :] for i in range(len(people)))
    each = [min(1, others.count(said) / 3) for others in rest]
    assert vqa.agreement(said, people) == pytest.approx(sum(each) / len(each))


def test_unanimous_answers_are_compared_byte_for_byte_by_the_official_script_alone():
    records = [record("Yes", ["yes"] * 10)]
    assert [
        scores(scorer, records)[0].value for scorer in (vqa.official, vqa.always, vqa.evalai)
    ] == [
        0.0,
        1.0,
        1.0,
    ]


def test_only_thirty_two_periods_are_removed():
    assert vqa.normalise("." * 40 + "end") == "." * 8 + "end"


def test_an_answer_without_references_is_left_unscored():
    (score,) = scores(vqa.always, [record("a red bus")])
    assert score.value is None and score.read_as == "red bus"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("scorer", "published"), [(vqa.evalai, 74.414), (vqa.always, 73.890), (vqa.official, 73.430)]
)
def test_textvqa_predictions_score_as_published(scorer, published):
    people = read_json(real("textvqa", "textvqa_val_annotations_vqa_format.json"))["annotations"]
    (file,) = real("textvqa").glob("textvqa_submission*.json")
    said = {row["question_id"]: row["answer"] for row in read_json(file)}
    records = [
        record(said[row["question_id"]], [answer["answer"] for answer in row["answers"]])
        for row in people
    ]
    assert len(records) == 5000
    assert percent(scores(scorer, records)) == pytest.approx(published, abs=1e-9)
