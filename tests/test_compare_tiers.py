"""Tiers, required benchmarks, all benchmarks together, and what turned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from infimm_eval.compare import (
    Cell,
    Change,
    Comparison,
    Policy,
    Said,
    as_json,
    compare,
    gate,
    junit,
    markdown,
    page,
    read_policy,
    read_tolerances,
)
from infimm_eval.errors import UsageError
from infimm_eval.types import Unit

HOSTILE = "</td><script>alert(1)</script> | @everyone `x` \x00*b*"


def cell(values: Sequence[float] | np.ndarray, task: str, shots: int = 0, **changes: Any) -> Cell:
    made = Cell(task=task, title=task.upper(), shots=shots, seed=0, model="m",
                headline="accuracy", value=100 * float(np.mean(values)), scale=100.0,
                n=len(values), unscored=0, complete=True, settings={"protocol": {}, "model": {}},
                units=[Unit(f"q{i}", f"p{i}", float(v)) for i, v in enumerate(values)])  # fmt: skip
    return replace(made, **changes)


GOOD, BAD = [1.0] * 100, [0.0] * 40 + [1.0] * 60


def judged(tiers: Sequence[str], *, required: Sequence[str] = (), pooled: bool = False,
           coco: Sequence[float] = GOOD, vqav2: Sequence[float] = GOOD) -> Comparison:  # fmt: skip
    policy = Policy().updated(tiers, required, pooled)
    return compare([cell(GOOD, "coco"), cell(GOOD, "vqav2")],
                   [cell(coco, "coco"), cell(vqav2, "vqav2")], policy=policy)  # fmt: skip


def test_without_a_policy_every_row_is_critical() -> None:
    found = judged([], vqav2=BAD)
    assert {row.tier for row in found.rows} == {"critical"}
    assert found.pooled is None and gate(found).code == 1


def test_an_advisory_row_stops_nothing_and_is_named() -> None:
    decision = gate(judged(["vqav2=advisory"], vqav2=BAD))
    assert decision.code == 0
    assert "stops nothing alone: VQAV2, 0-shot (advisory)" in decision.sentence


def test_an_advisory_row_weakens_no_other() -> None:
    few = [0.0] * 7 + [1.0] * 93
    both, alone = judged([], coco=few), judged(["vqav2=advisory"], coco=few)
    assert alone.rows[0].p_drop == pytest.approx((both.rows[0].p_drop or 0) / 2)
    assert alone.rows[0].p == both.rows[0].p


def test_supporting_rows_stop_a_build_together_and_not_alone() -> None:
    rng = np.random.default_rng(0)
    base = [cell(rng.random(400) < 0.6, f"task{k}") for k in range(8)]
    new = [replace(b, units=[replace(u, value=u.value * float(rng.random() > 0.02))
                             for u in b.units]) for b in base]  # fmt: skip
    small = compare(base, new, policy=Policy("supporting"))
    assert not any(row.regressed for row in small.rows)
    assert small.pooled is not None and small.pooled.rows == 8 and small.pooled.p < 0.01
    decision = gate(small)
    assert decision.code == 1 and "8 figures together fell by" in decision.sentence
    assert gate(compare(base, new)).code == 0


def test_one_supporting_row_among_sound_ones_is_a_warning() -> None:
    noise = [0.0, 1.0] * 50
    flipped = noise[::-1]
    base = [cell(noise, f"task{k}") for k in range(6)] + [cell(GOOD, "last")]
    new = [cell(flipped, f"task{k}") for k in range(6)]
    new += [cell([0.0] * 6 + [1.0] * 94, "last")]
    decision = gate(compare(base, new, policy=Policy("supporting")))
    assert decision.code == 0


def test_pooled_rows_of_one_benchmark_count_their_pictures_once() -> None:
    rng = np.random.default_rng(1)
    base, new = (rng.random(500) < 0.6 for _ in range(2))
    one = compare([cell(base, "coco")], [cell(new, "coco")], policy=Policy(pooled=True))
    many = compare([cell(base, "coco", shots) for shots in range(5)],
                   [cell(new, "coco", shots) for shots in range(5)],
                   policy=Policy(pooled=True))  # fmt: skip
    assert one.pooled and many.pooled
    assert many.pooled.score == pytest.approx(one.pooled.score, rel=0.02)


@pytest.mark.slow
def test_the_pooled_test_is_quiet_without_a_change() -> None:
    rng = np.random.default_rng(2)
    stopped = 0
    for _ in range(200):
        pairs = [[cell(rng.random(150) < 0.6, f"task{k}") for k in range(4)] for _ in range(2)]
        found = compare(*pairs, policy=Policy("supporting"), resamples=50)
        stopped += gate(found).together is not None
    assert stopped <= 12  # 2.5 % a side are expected


def test_a_required_benchmark_must_be_there() -> None:
    found = judged(["advisory"], required=["OK-VQA", "coco@4"])
    decision = gate(found)
    assert decision.code == 3
    assert "okvqa is required and in neither run" in decision.sentence
    suite = ElementTree.fromstring(junit(found, decision))[0]
    assert suite.get("errors") == "2" and len(suite) == int(suite.get("tests") or 0) == 4


def test_a_required_benchmark_that_the_base_lacks_is_a_gap_also_where_it_is_advisory() -> None:
    base, new = [cell(GOOD, "coco")], [cell(GOOD, "coco"), cell(GOOD, "vqav2")]
    assert gate(compare(base, new)).code == 0
    policy = Policy("advisory").updated(required=["vqav2"])
    found = compare(base, new, policy=policy)
    assert gate(found).code == 3 and "the base lacks it" in markdown(found)
    suite = ElementTree.fromstring(junit(found, gate(found)))[0]
    assert (suite.get("errors"), suite.get("skipped")) == ("1", "0")
    gone = compare(new, base, policy=policy)
    assert gate(gone).code == 3
    assert gate(compare(new, base, policy=Policy("advisory"))).code == 0


def test_the_most_particular_tier_wins(tmp_path: Path) -> None:
    file = tmp_path / "gate.toml"
    lines = ("default = 1.5", 'required = ["coco"]', "pooled = true", "[tiers]",
             'default = "advisory"', 'coco = "supporting"', '"VQA v2@4" = "critical"')  # fmt: skip
    file.write_text("\n".join(lines))
    policy = read_policy(file).updated(["coco@8=critical"])
    tiers = [policy.of(*at) for at in (("coco", 0), ("coco", 8), ("vqav2", 4), ("vqav2", 0))]
    assert tiers == ["supporting", "critical", "critical", "advisory"]
    assert policy.requires("coco", 4) and policy.pooled
    assert read_tolerances(file).default.amount == 1.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('tiers = "critical"', "table such as"),
        ('[tiers]\ncoco = "crucial"', "did you mean 'critical'"),
        ("[tiers]\ncoco = 3", "unknown tier '3'"),
        ("[tiers]\ncoco = []", "unknown tier"),
        ('required = "coco"', "list of names"),
        ("required = [3]", "list of names"),
        ('required = ["@4"]', "expected TASK"),
        ("pooled = 1", "true or false"),
        ('tier = "critical"', "did you mean 'tiers'"),
    ],
)
def test_a_policy_that_makes_no_sense_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "gate.toml"
    file.write_text(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_policy(file)
    assert "\n" not in str(caught.value)


def test_a_tier_for_nothing_is_noted() -> None:
    assert judged(["vqa2=advisory"]).notes == ("the tier of vqa2 applies to nothing here",)


def flipped() -> Comparison:
    found = judged(["vqav2=supporting"], vqav2=BAD)
    said = Said(question=f"What? {HOSTILE}", before=None, after=HOSTILE, expected="yes",
                picture=b"RIFF-webp")  # fmt: skip
    return replace(found, rows=tuple(
        replace(row, changes=(Change("q0", "", 1.0, 0.0, said), *row.changes[1:]))
        if row.changes else row
        for row in found.rows
    ))  # fmt: skip


def test_what_turned_is_shown_with_answers_and_picture() -> None:
    found = flipped()
    text = markdown(found, gate(found), pictures=lambda webp: "pictures/a.webp")
    assert '<img src="pictures/a.webp" width="96">' in text
    assert "(not kept)" in text and "and 30 more" in text and "What?" in text
    assert "(supporting)" in text and "<img" not in markdown(found)
    html = page(found, gate(found))
    assert "data:image/webp;base64,UklGRi13ZWJw" in html and "39 more" in html
    assert (
        json.loads(json.dumps(as_json(found, gate(found))))["rows"][1]["changes"][0]["said"][
            "expected"
        ]
        == "yes"
    )


def test_where_answers_do_not_fit_into_a_comment_there_are_scores() -> None:
    found = flipped()
    row = found.rows[1]
    said = Said(question="?" * 300, before="a" * 300, after="b" * 300, expected="c" * 300)
    long = replace(row, changes=tuple(replace(change, said=said) for change in row.changes))
    text = markdown(replace(found, rows=(long,) * 30))
    assert (
        len(text) < 65_536 and "<code>q0</code> | 1 | 0 |" in text and "aa" in text and "??" in text
    )


def test_nothing_that_a_model_said_comes_alive() -> None:
    found = flipped()
    for text in (markdown(found, gate(found)), page(found, gate(found))):
        assert "<script" not in text and "\x00" not in text
    line = next(line for line in markdown(found).splitlines() if "What?" in line)
    assert line.count("|") == 8 and "@everyone" not in line
