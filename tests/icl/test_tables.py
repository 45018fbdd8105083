"""What the shots taught, as tables, in the report and on the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from infimm_eval import evaluate, report
from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.icl import Contrast, Rate, verdict
from infimm_eval.icl.copying import majority
from infimm_eval.icl.curve import area
from infimm_eval.models.fake import Fake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("run")
    names = ["pictures=blank", "pictures=none", "order=permuted:1", "order=permuted:2", "blind"]
    evaluate(
        Fake(), "vqav2", [0, 2], limit=12, data="demo", controls=names, output=where, progress=False
    )
    return where


@pytest.mark.slow
def test_every_figure_is_a_line_of_the_csv(folder: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(report.taught(folder, form="csv"))))
    kinds = {line["kind"] for line in lines}
    assert kinds == {"verdict", "figure", "contrast", "rate", "point", "step", "curve"}
    blind = next(x for x in lines if x["name"] == "blind" and x["shots"] == "2")
    assert blind["against"] == "plain - query=blank" and float(blind["low"]) <= float(blind["high"])
    assert any(line["name"] == "order_spread" for line in lines)


def test_latex_has_a_table_a_cell_and_nothing_that_breaks_it(folder: Path) -> None:
    text = report.taught(folder, form="latex")
    assert text.count("\\begin{table}") == text.count("\\bottomrule") == 3
    assert text.count("{") == text.count("}") and "pictures=blank - pictures=none" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not any("%" in line.replace("\\%", "") for line in body)


def test_the_command_says_it_in_every_form(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["icl", str(folder), "--shots", "2", "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["diagnoses"]
    assert main(["icl", str(folder)]) == 0
    assert found["sentence"] in capsys.readouterr().out
    assert main(["icl", str(folder), "--shots", "8"]) == 2


@pytest.mark.slow
def test_the_report_has_a_part_about_shots_and_tables_beside_it(folder: Path) -> None:
    written = report.write([folder], folder)
    assert [path.name for path in written] == [
        "report.md", "report.html", "in_context.csv", "in_context.tex",
    ]  # fmt: skip
    assert "## In context" in written[0].read_text()
    page = written[1].read_text()
    assert 'id="in-context"' in page and "contrasts in points" in page
    assert "blind " in written[0].read_text() and ", gain " in page


def test_a_run_without_controls_has_nothing_to_say(tmp_path: Path) -> None:
    evaluate(Fake(), "vqav2", limit=2, data="demo", output=tmp_path, progress=False)
    with pytest.raises(UsageError, match="run it with --controls all"):
        report.taught(tmp_path)


def test_the_area_is_that_of_trapezoids_over_the_logarithm() -> None:
    assert area([(0, 10.0), (1, 20.0), (3, 40.0)]) == pytest.approx((15.0 + 30.0) / 2)
    assert area([(4, 50.0), (8, 50.0)]) == pytest.approx(50.0)


def test_a_majority_is_the_single_most_frequent() -> None:
    assert majority(["a", "b", "b"]) == "b" and majority(["a"]) == "a"
    assert majority(["a", "b"]) is None and majority([]) is None


def contrast(name: str, low: float, high: float) -> Contrast:
    return Contrast(
        name=name,
        control="pictures=swapped",
        value=(low + high) / 2,
        ci95=(low, high),
        p=0.5,
        p_holm=0.5,
        n=100,
        changed=50.0,
        changed_prompts=100.0,
        left_out=0,
        seeds={0: 0.0},
    )


def claim(*contrasts: Contrast, shots: int = 4, **rates: Rate) -> str:
    return verdict.verdict(contrasts, rates, shots).claim


BLIND, PAIRING, LABEL, SHOTS = (
    contrast(name, 1.0, 9.0) for name in ("blind", "pairing", "label_format", "shots")
)
NO_PAIRING, NO_LABEL, NO_SHOTS = (
    contrast(name, -1.0, 9.0) for name in ("pairing", "label_format", "shots")
)


def test_a_verdict_looks_at_bounds_and_at_rules_in_their_order() -> None:
    copies = Rate(value=60.0, ci95=(51.0, 70.0), n=9)
    barely = Rate(value=60.0, ci95=(49.0, 70.0), n=9)
    assert claim(BLIND, PAIRING, recency=copies) == verdict.COPIES
    assert claim(BLIND, PAIRING, LABEL, SHOTS, recency=barely) == verdict.PAIRS
    assert claim(BLIND, NO_PAIRING, LABEL, SHOTS) == verdict.WORDS
    assert claim(BLIND, NO_PAIRING, NO_LABEL, SHOTS) == verdict.GAINS
    assert claim(BLIND, NO_PAIRING, NO_LABEL, NO_SHOTS) == verdict.LOOKS


def test_a_rule_waits_for_the_contrasts_before_it() -> None:
    assert claim(PAIRING, LABEL, SHOTS) == verdict.UNDECIDED
    assert claim(BLIND, LABEL, SHOTS) == verdict.UNDECIDED
    assert claim(BLIND, NO_PAIRING, SHOTS) == verdict.UNDECIDED
    assert claim(BLIND, NO_PAIRING, NO_LABEL) == verdict.UNDECIDED
    assert claim(BLIND, shots=0) == verdict.SEES
