"""Reading the letter of an option."""

from __future__ import annotations

import pytest

from infimm_eval.scorers import choice
from infimm_eval.scorers.fixed import Unseen
from infimm_eval.types import Answer, Record, Sample
from tasks.mmbench import scorers as mmbench
from tasks.mmmu import scorers as mmmu
from tasks.scienceqa import scorers as scienceqa
from tests.scorers.cases import golden, percent, read_json, real, record, scores


@pytest.mark.parametrize(
    ("read", "official"),
    [
        (mmbench.read_vlmevalkit, "vlmevalkit_head"),
        (mmbench.read_vlmevalkit_2023, "vlmevalkit_dec2023"),
        (mmbench.read_lmms, "lmms_eval"),
    ],
)
def test_mmbench_answers_are_read_as_each_code_base_does(read, official):
    cases = golden("mmbench_can_infer")["cases"]
    heard = {case["id"]: read(case["prediction"], case["choices"]) for case in cases}
    assert heard == {case["id"]: case[official] or "" for case in cases}


def _options(count):
    return {letter: f"option {letter}" for letter in "ABCDE"[:count]}


def test_scienceqa_answers_are_read_as_llava_does():
    for case in golden("scienceqa_parsing")["cases"]:
        options = _options(case["num_choices"])
        heard = scienceqa.read_llava(case["response"], options)
        assert (heard or "FAILED") == case["llava_parsed"], case["id"]
        assert (list(options).index(heard) if heard in options else -1) == case["llava_pred_idx"]


@pytest.mark.parametrize("right", "AB")
def test_scienceqa_answers_are_read_as_lmms_eval_does(right):
    cases = golden("scienceqa_parsing")["cases"]
    records = [record(c["response"], right, options=_options(c["num_choices"])) for c in cases]
    values = [score.value for score in scores(scienceqa.lmms, records)]
    assert values == [case[f"lmms_eval_if_target_is_{right}"] for case in cases]


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("b", "B"),
        ("b. red", "B"),
        ("the answer is b", "B"),
        ("The answer is a.", "A"),
        ("The answer is a red thing", ""),
        ("a red thing", ""),
        ("a, or so", ""),
        ("Final Answer: **c**", "C"),
        ("**Answer:** (B)", "B"),
        ("The correct answer would be C) blue", "C"),
        ("<answer>b</answer>", "B"),
        (r"It is red, so \boxed{B}.", "B"),
        (r"$\boxed{\text{c}}$", "C"),
        (r"\boxed{\mathrm{(A)}}", "A"),
        (r"First \boxed{A}, no: \boxed{B}", "B"),
        (r"\boxed{red}", "B"),
        (r"\boxed{E}", ""),
        (r"\boxed{B", ""),
        ("(B)", "B"),
        ("**C**", "C"),
        ("B. red", "B"),
        ("C) blue is right", "C"),
        ("The answer is (A).", "A"),
        ("Answer: C", "C"),
        ("I would pick option B, since A is green", "B"),
        ("red.", "B"),
        ("Blue", "C"),
        ("A red thing", ""),
        ("E", ""),
        ("option A or option B", ""),
        ("", ""),
    ],
)
def test_the_plain_reading_takes_a_letter_or_nothing(said, letter):
    assert choice.read_letter(said, {"A": "green", "B": "red", "C": "blue"}) == letter


def test_an_unreadable_answer_is_wrong_and_says_so_and_a_refusal_is_read():
    asked = [record(said, ["A"], options=["cat", "dog"]) for said in ("A", "B", "hm", "Z")]
    found = [(s.value, s.read_as, s.parsed) for s in scores(mmbench.vlmevalkit, asked)]
    assert found == [(1.0, "A", True), (0.0, "B", True), (0.0, "", False), (0.0, "Z", True)]


def test_a_question_whose_answer_is_withheld_stays_unscored():
    (score,) = scores(choice.letter, [record("B", options=["cat", "dog"])])
    assert (score.value, score.read_as) == (None, "B")


def test_a_picture_among_the_options_reads_as_its_number():
    sample = Sample(
        id="1",
        question=("Which is like ", Unseen("asked"), "?"),
        options=(
            (Unseen("left"),),
            ("the ", Unseen("right"), " one"),
            (Unseen("asked"),),
        ),
        references=("B",),
    )
    texts = {"A": "<image 2>", "B": "the <image 3> one", "C": "<image 1>"}
    assert choice.options_of(sample) == texts
    said = "It is most of all like the <image 3> one"
    (score,) = scores(mmmu.official, [Record(sample, Answer("1", said), said)])
    assert (score.value, score.read_as) == (1.0, "B")


@pytest.mark.parametrize(
    "scorer", [choice.letter, scienceqa.llava, mmbench.vlmevalkit, mmmu.official]
)
def test_the_likeliest_of_ranked_options_needs_no_reading(scorer):
    sample = Sample(id="1", options=(("cat",), ("dog",)), references=("B",))
    ranked = Record(sample, Answer("1", "dog", logliks=(-9.0, -2.5)), "dog")
    (score,) = scores(scorer, [ranked])
    assert (score.value, score.read_as, score.parsed) == (1.0, "B", True)


def test_scienceqa_predictions_score_as_published():
    kept = read_json(real("scienceqa", "sqa_test_image_7b_baseline_output.json"))
    asked = [row for rows in kept.values() for row in rows if row["is_multimodal"]]
    records = [record(row["pred"], [row["ground_truth"]], options="ABCDE") for row in asked]
    found = scores(scienceqa.llava, records)
    assert len(found) == 2017 and sum(score.value for score in found) == 1314
    assert percent(found) == pytest.approx(65.14625681705503)
    assert [score.read_as or "FAILED" for score in found] == [row["parsed_ans"] for row in asked]
