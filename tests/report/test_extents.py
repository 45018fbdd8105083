"""Scores over the length of answers and the size of pictures: shown only where they move."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from infimm_eval import report, stats
from infimm_eval.logs import Log
from infimm_eval.report.extents import moves
from infimm_eval.report.gather import gather
from tests.report.made import Made, MakeRun, picture


def said(lengths: Sequence[int]) -> list[str]:
    return ["x" * length for length in lengths]


def test_an_effect_of_length_is_drawn_with_its_interval(make_run: MakeRun) -> None:
    lengths = [n % 50 + 1 for n in range(300)]
    values = [float(random.Random(n).random() > length / 60) for n, length in enumerate(lengths)]
    run = make_run("run", Made(answers=said(lengths), values=values), pictures=False)
    (move,) = moves(gather([run]))
    assert move.interval[0] < move.correlation < move.interval[1] < 0 and move.n == 300
    points = move.chart.tracks[0].points
    assert len(points) == 5 and sum(point.figure.n for point in points) == 300
    assert all(a.x < b.x for a, b in pairwise(points))
    assert points[0].figure.value > points[-1].figure.value + 40
    text, html = (path.read_text(encoding="utf-8") for path in report.write([run], run))
    assert "mean score over answer length: rank correlation \u2212" in text
    assert "By size" in html and "over characters" in html


def test_what_has_no_effect_is_not_drawn(make_run: MakeRun) -> None:
    dice = random.Random(1)
    lengths = [dice.randint(1, 60) for _ in range(300)]
    values = [float(dice.random() > 0.5) for _ in lengths]
    run = make_run("run", Made(answers=said(lengths), values=values), pictures=False)
    assert moves(gather([run])) == []
    text, html = (path.read_text(encoding="utf-8") for path in report.write([run], run))
    assert "By size" not in text and "By size" not in html


def test_few_samples_and_answers_of_one_length_say_nothing(make_run: MakeRun) -> None:
    values = [float(n % 2) for n in range(300)]
    short = make_run("short", Made(answers=["yes"] * 300, values=values), pictures=False)
    few = Made(answers=said(range(1, 41)), values=[float(n > 20) for n in range(40)])
    assert moves(gather([short])) == []
    assert moves(gather([make_run("few", few, pictures=False)])) == []


def test_an_effect_of_the_pictures_size_is_drawn(make_run: MakeRun) -> None:
    values = [float(n >= 40) for n in range(80)]
    run = make_run("run", Made(answers=["yes"] * 80, values=values), pictures=False)
    with Log(run, writing=True) as log:
        for n in range(80):
            log.add_picture(f"own-{n}", picture(n), pixels=10_000 * (n // 2 + 1))
    (move,) = moves(gather([run]))
    assert move.unit == "k pixels" and move.correlation > 0.8 and move.n == 80


def test_the_more_is_looked_at_the_surer_an_effect_has_to_be(make_run: MakeRun) -> None:
    lengths = [n % 40 + 1 for n in range(100)]
    values = [
        float(random.Random(n + 7).random() > length / 80) for n, length in enumerate(lengths)
    ]
    one = Made(answers=said(lengths), values=values)
    dice = random.Random(3)
    others = [
        Made(
            shots=shots, answers=said(lengths), values=[float(dice.random() > 0.5) for _ in lengths]
        )
        for shots in range(1, 9)
    ]
    (alone,) = moves(gather([make_run("one", one, pictures=False)]))
    beside = moves(gather([make_run("all", one, *others, pictures=False)]))
    assert [move.chart.tracks[0].name.endswith("0 shots") for move in beside] in ([True], [])
    for move in beside:
        assert move.interval[0] < alone.interval[0] < alone.interval[1] < move.interval[1]


def test_ranks_share_what_is_equal_and_order_alone_counts() -> None:
    rho, _ = stats.rank_correlation([1, 2, 2, 3] * 5, [1, 5, 5, 9] * 5, 20) or (0, 0)
    assert rho == pytest.approx(1)
    found = stats.rank_correlation(range(30), [x**3 for x in range(30)], 30)
    assert found is not None and found[0] == pytest.approx(1)
    assert stats.rank_correlation([1.0] * 30, range(30), 30) is None
    assert stats.rank_correlation(range(30), range(30), 9) is None


def test_the_interval_holds_the_true_correlation_as_often_as_it_says() -> None:
    dice, inside = random.Random(0), 0
    for _ in range(400):
        xs = [dice.gauss(0, 1) for _ in range(80)]
        ys = [0.0 * x + dice.gauss(0, 1) for x in xs]
        _, (low, high) = stats.rank_correlation(xs, ys, 80) or (0, (1, 1))
        inside += low <= 0 <= high
    assert 366 <= inside <= 394  # of 400 at 95 %, give or take 3 deviations


def test_a_log_of_earlier_versions_has_lengths_and_no_picture_sizes(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "run_of_schema_1.db"
    (tmp_path / "run.db").write_bytes(golden.read_bytes())
    with Log(tmp_path) as log:
        found = [extent for cell in log.cells() for extent in log.extents(cell.key)]
    assert found and all(extent.pixels is None for extent in found)
    assert any(extent.letters for extent in found)
