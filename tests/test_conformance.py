"""Predictions of our own in every official format: ``score`` gives the figures worked out by hand.

Knows the command line and files; the rules are told in ``golden/conformance/README.md``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.cli import main

FOLDER = Path(__file__).parent / "golden" / "conformance"
CASES: list[dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def score(case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the command line says of a case, as JSON."""
    said = ["score", "--task", case["task"], "--predictions", str(FOLDER / case["predictions"])]
    if case["references"]:
        said += ["--references", str(FOLDER / case["references"])]
    if case["scorer"]:
        said += ["--variant", case["scorer"]]
    if case.get("allow_partial"):
        said += ["--allow-partial"]
    code = main([*said, "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    result: dict[str, Any] = json.loads(told.out)
    return result


def check(case: dict[str, Any], result: dict[str, Any]) -> None:
    for count in ("n", "unparsed", "without_prediction", "without_reference"):
        assert result[count] == case[count], count
    assert result["unscored"] == 0
    known = {figure: result["metrics"][figure] for figure in case["metrics"]}
    assert known == pytest.approx(case["metrics"], abs=1e-9)
    for by, figures in case["breakdown"].items():
        assert result["breakdown"][by] == pytest.approx(figures, abs=1e-9), by


def name(case: dict[str, Any]) -> str:
    parts = [case["task"], Path(case["predictions"]).stem, Path(case["references"] or "").stem]
    return "-".join(part for part in [*parts, case["scorer"]] if part)


CAPTIONS = [case for case in CASES if "METEOR" in case["metrics"]]
OTHERS = [case for case in CASES if case not in CAPTIONS]


@pytest.mark.parametrize("case", OTHERS, ids=name)
def test_the_figures_are_those_worked_out_by_hand(
    case: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    check(case, score(case, capsys))


@pytest.mark.slow
@pytest.mark.parametrize("case", CAPTIONS, ids=name)
def test_captions_have_the_figures_of_the_official_evaluation(
    case: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But METEOR, which takes ten seconds to start."""
    nothing = "infimm_eval.scorers.java.meteor"
    monkeypatch.setattr(nothing, lambda said, people: (0.0, [0.0] * len(said)))
    figures = {figure: value for figure, value in case["metrics"].items() if figure != "METEOR"}
    check(case | {"metrics": figures}, score(case, capsys))


@pytest.mark.slow
@pytest.mark.parametrize("case", CAPTIONS, ids=name)
def test_captions_have_the_official_meteor(
    case: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    check(case, score(case, capsys))
