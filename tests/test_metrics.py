"""How scores add up to the figures of the published tables."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from infimm_eval import metrics
from infimm_eval.errors import UsageError
from infimm_eval.types import Outcome, Score
from tasks.core_mm.metrics import overall
from tasks.mmbench.metrics import circular
from tasks.mme import scorers as mme
from tasks.mme.metrics import sums
from tasks.mmvet.metrics import total
from tests.scorers.cases import golden, outcomes, real, record, scores


def _outcome(id, value, group="", **tags):
    return Outcome(id, group, tags, Score(value))


QUESTIONS = [
    _outcome("1", 1.0, "dog.jpg", kind="number"),
    _outcome("2", 0.3, "dog.jpg", kind="yes/no"),
    _outcome("3", 0.5, kind="number"),
    _outcome("4", None, kind="yes/no"),
]
MME = [
    _outcome("a1", 1.0, "a.jpg", category="existence"),
    _outcome("a2", 1.0, "a.jpg", category="existence"),
    _outcome("b1", 1.0, "b.jpg", category="existence"),
    _outcome("b2", 0.0, "b.jpg", category="existence"),
    _outcome("c1", 1.0, "a.jpg", category="OCR"),
    _outcome("c2", 0.0, "a.jpg", category="OCR"),
    _outcome("d1", 1.0, "a.jpg", category="code_reasoning"),
    _outcome("d2", 1.0, "a.jpg", category="code_reasoning"),
]
MMBENCH = [
    _outcome("7", 1.0, question="7", category="colour", **{"l2-category": "perception"}),
    _outcome("1000007", 1.0, question="7", category="colour", **{"l2-category": "perception"}),
    _outcome("8", 1.0, question="8", category="place", **{"l2-category": "perception"}),
    _outcome("1000008", 0.0, question="8", category="place", **{"l2-category": "perception"}),
    _outcome("9", 1.0, question="9", category="logic", **{"l2-category": "reasoning"}),
]
MMVET = [
    Outcome("v1", "", {"capability": "ocr,rec"}, Score(0.5, parts={"run 1": 0.4, "run 2": 0.6})),
    Outcome("v2", "", {"capability": "rec"}, Score(1.0, parts={"run 1": 1.0, "run 2": 1.0})),
]
CORE_MM = [
    _outcome("1", 0.9, category="Deductive", complexity="Moderate"),
    _outcome("2", 0.3, category="Deductive", complexity="High"),
    _outcome("3", 0.0, category="Abductive", complexity="High"),
]


@pytest.mark.parametrize(
    ("builder", "headline", "asked"),
    [
        (metrics.mean("accuracy", by=["kind"]), "accuracy", QUESTIONS),
        (metrics.mean("points", scale=7), "points", QUESTIONS),
        (metrics.captions(), "CIDEr", QUESTIONS),
        (metrics.choices(), "accuracy", QUESTIONS),
        (sums, "perception", MME),
        (circular, "circular", MMBENCH),
        (total, "total", MMVET),
        (overall, "overall", CORE_MM),
    ],
)
def test_the_units_of_every_summary_add_up_to_its_headline(builder, headline, asked):
    summary = builder(asked, {})
    strata = {unit.stratum for unit in summary.units}
    by_hand = sum(
        sum(u.weight * u.value for u in summary.units if u.stratum == stratum)
        / sum(u.weight for u in summary.units if u.stratum == stratum)
        for stratum in strata
    )
    assert summary.metrics[headline] == pytest.approx(summary.scale * by_hand, abs=1e-9)
    assert len({(unit.id, unit.stratum) for unit in summary.units}) == len(summary.units)
    assert json.loads(json.dumps([summary.metrics, summary.breakdown]))

    nothing = builder([], {})
    assert (nothing.metrics, list(nothing.units)) == ({}, [])


def test_the_unscored_are_left_out_of_a_mean_and_of_its_groups():
    summary = metrics.mean("accuracy", by=["kind"])(QUESTIONS, {"Bleu_4": 30.0})
    assert summary.metrics == {"accuracy": pytest.approx(60), "Bleu_4": 30.0}
    assert summary.breakdown == {"kind": {"number": 75.0, "yes/no": 30.0}}
    assert [(unit.id, unit.cluster) for unit in summary.units] == [
        ("1", "dog.jpg"),
        ("2", "dog.jpg"),
        ("3", "3"),
    ]


def test_parse_failures_are_shown_and_count_as_wrong():
    asked = [
        Outcome("1", "", {}, Score(1.0, parts={"expected": 1.0})),
        Outcome("2", "", {}, Score(0.0, parsed=False, parts={"expected": 0.25})),
    ]
    assert metrics.choices()(asked, {}).metrics == {
        "accuracy": 50.0,
        "parse_failures": 50.0,
        "expected": 62.5,
    }


def test_mme_adds_the_accuracy_over_questions_and_over_pictures_of_every_sub_task():
    summary = sums(MME, {})
    assert summary.breakdown == {
        "score": {"OCR": 50.0, "code_reasoning": 200.0, "existence": 125.0},
        "accuracy": {"OCR": 50.0, "code_reasoning": 100.0, "existence": 75.0},
        "accuracy+": {"OCR": 0.0, "code_reasoning": 100.0, "existence": 50.0},
    }
    assert summary.metrics == {"perception": 175.0, "cognition": 200.0}
    assert len({unit.cluster for unit in summary.units}) == 3, "a.jpg is another picture in OCR"


def test_half_a_pair_is_no_pair():
    assert sums(MME[:3], {}).breakdown["score"] == {"existence": 200.0}


def test_a_sub_task_that_mme_does_not_have_is_a_mistake():
    with pytest.raises(UsageError, match="did you mean 'existence'"):
        sums([_outcome("1", 1.0, category="existance")], {})


def test_lavins_answers_give_its_published_mme_figures():
    asked = []
    for file in sorted(real("mme_lavin").glob("*.txt")):
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                picture, _, right, said = line.rstrip("\n").split("\t")
                tags = {"category": file.stem}
                name = f"{file.stem}/{number}"
                asked.append(record(said, [right], id=name, group=picture, tags=tags))
    summary = sums(outcomes(asked, scores(mme.official, asked)), {})
    assert len(asked) == 2374
    assert round(summary.metrics["perception"], 3) == 963.611
    assert round(summary.metrics["cognition"], 3) == 249.643
    assert {name: round(score, 2) for name, score in summary.breakdown["score"].items()} == {
        "existence": 185.0,
        "count": 88.33,
        "position": 63.33,
        "color": 75.0,
        "posters": 79.59,
        "celebrity": 47.35,
        "scene": 136.75,
        "landmark": 93.5,
        "artwork": 87.25,
        "OCR": 107.5,
        "commonsense_reasoning": 87.14,
        "numerical_calculation": 65.0,
        "text_translation": 47.5,
        "code_reasoning": 50.0,
    }


def test_a_question_counts_only_if_it_is_right_in_every_rotation():
    summary = circular(MMBENCH, {})
    assert summary.metrics == {"circular": pytest.approx(200 / 3), "vanilla": 100.0}
    assert summary.breakdown == {
        "l2-category": {"perception": 50.0, "reasoning": 100.0},
        "category": {"colour": 100.0, "logic": 100.0, "place": 0.0},
    }
    assert [unit.id for unit in summary.units] == ["7", "8", "9"]


def test_a_question_with_an_unscored_rotation_is_left_out():
    withheld = _outcome("1000009", None, question="9", category="logic")
    assert circular([*MMBENCH, withheld], {}).metrics["circular"] == 50.0


def test_a_question_whose_rotations_were_not_all_asked_is_not_right_and_is_spoken_of():
    cut = replace(_outcome("10", 1.0, question="10"), tags={"question": "10", "rotations": "4"})
    summary = circular([*MMBENCH, cut], {})
    assert summary.metrics["circular"] == 50.0
    (note,) = summary.notes
    assert note.startswith("1 of 4 questions count as not right")
    assert not circular(MMBENCH, {}).notes


def test_mm_vet_is_shown_by_capability_by_their_combination_and_with_the_spread_of_its_runs():
    summary = total(MMVET, {})
    assert summary.metrics == {"total": 75.0, "std": pytest.approx(5.0)}
    assert summary.breakdown == {
        "capability": {"ocr": 50.0, "rec": 75.0},
        "integration": {"rec": 100.0, "rec+ocr": 50.0},
    }


def test_a_capability_that_mm_vet_does_not_have_is_a_mistake():
    with pytest.raises(UsageError, match="did you mean 'spat'"):
        total([_outcome("1", 1.0, capability="rec,spatial")], {})


def test_high_complexity_weighs_twice_in_the_total_and_in_every_category():
    summary = overall(CORE_MM, {})
    assert summary.metrics["overall"] == pytest.approx(100 * (0.9 + 2 * 0.3) / 5)
    assert summary.breakdown["category"] == {"Abductive": 0.0, "Deductive": pytest.approx(50.0)}
    assert summary.breakdown["complexity"] == {"High": pytest.approx(15.0), "Moderate": 90.0}


def test_the_rows_of_the_infimm_eval_leaderboard_add_up():
    board = golden("core_mm_aggregation")
    sizes = {"Moderate": board["counts"]["moderate"], "High": board["counts"]["high"]}
    for row in board["rows"]:
        asked = [
            _outcome(f"{name}{number}", row[name.lower()] / 100, complexity=name)
            for name, size in sizes.items()
            for number in range(size)
        ]
        figure = overall(asked, {}).metrics["overall"]
        assert figure == pytest.approx(row["overall_from_complexity_formula"], abs=1e-3)
