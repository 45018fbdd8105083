"""What a model scores without pictures, beside what its bare language model scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infimm_eval import Results, evaluate, logs, report
from infimm_eval.cli import main
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import Image, Request


def run(
    says: str, folder: Path, *, task: str = "vqav2", controls: tuple[str, ...] = ("query=none",)
) -> Results:
    return evaluate(
        Fake(says),
        task,
        [0],
        limit=20,
        data="demo",
        controls=controls,
        output=folder,
        progress=False,
    )


def test_leakage_is_the_paired_difference_and_never_below_0(tmp_path: Path) -> None:
    folders = [tmp_path / "yes", tmp_path / "red"]
    yes, red = (run(folder.name, folder) for folder in folders)
    scores = [cell.value for cell in (*yes.cells, *red.cells) if not cell.control]
    found = yes.diagnosis("vqav2", language_model=folders[1]).leakage
    other = red.diagnosis("vqav2", language_model=folders[0]).leakage
    assert found is not None and other is not None and scores[0] is not None
    assert (found.without_pictures, found.bare) == tuple(scores)
    assert (
        found.difference == -other.difference == pytest.approx(found.without_pictures - scores[1])
    )
    assert {found.value, other.value} == {0.0, abs(found.difference)}
    assert found.difference and found.n == 20
    assert found.ci95[0] <= found.difference <= found.ci95[1]


def test_a_language_model_is_asked_as_it_stands_where_it_has_no_control(tmp_path: Path) -> None:
    run("yes", tmp_path / "model")
    run("yes", tmp_path / "bare", controls=())
    text = report.taught(tmp_path / "model", language_model=tmp_path / "bare")
    assert "multi-modal leakage" in text and "of fake:yes: +0.0" in text


def test_the_command_says_it_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("yes", tmp_path / "model")
    run("no", tmp_path / "bare")
    said = {}
    for form in ("text", "json", "csv", "latex"):
        arguments = ["icl", str(tmp_path / "model"), "--format", form]
        assert main([*arguments, "--language-model", str(tmp_path / "bare")]) == 0
        said[form] = capsys.readouterr().out
    (found,) = json.loads(said["json"])["diagnoses"]
    assert found["leakage"]["language_model"] == "fake:no"
    assert "leakage,query=none - fake:no" in said["csv"]
    assert "Multi-modal leakage" in said["latex"] and "multi-modal gain" in said["text"]


@pytest.mark.parametrize(
    ("model", "bare", "why"),
    [
        (("mme", "blind"), ("mme", "blind"), "run it with --controls query=none"),
        (
            ("mme", "query=none"),
            ("vqav2", "query=none"),
            "was asked vqav2 at 0 shots, and not mme at 0 shots",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(
    model: tuple[str, str], bare: tuple[str, str], why: str, tmp_path: Path
) -> None:
    run("yes", tmp_path / "model", task=model[0], controls=(model[1],))
    run("no", tmp_path / "bare", task=bare[0], controls=(bare[1],))
    with pytest.raises(UsageError, match=why):
        report.taught(tmp_path / "model", language_model=tmp_path / "bare")


def test_where_no_sample_is_shared_a_note_says_so(tmp_path: Path) -> None:
    run("yes", tmp_path / "model")
    evaluate(
        Fake("no"), "vqav2", [0], seeds=[1], limit=2, data="demo", output=tmp_path / "bare",
        progress=False,
    )  # fmt: skip
    text = report.taught(tmp_path / "model", language_model=tmp_path / "bare")
    assert "no sample was asked of fake:no too" in text and "multi-modal leakage" not in text


def test_a_query_without_its_pictures_leaves_the_shots(tmp_path: Path) -> None:
    shown: list[int] = []

    def counts(request: Request) -> str:
        pieces = [piece for turn in request.prompt.turns for piece in turn.content]
        shown.append(sum(isinstance(piece, Image) for piece in pieces))
        return "yes"

    evaluate(
        Fake(counts), "vqav2", [2], limit=3, data="demo", controls="query=none",
        output=tmp_path, progress=False,
    )  # fmt: skip
    assert sorted(shown) == [2, 2, 2, 3, 3, 3]
    assert [cell.n_changed for cell in logs.read(tmp_path)] == [None, 3]
