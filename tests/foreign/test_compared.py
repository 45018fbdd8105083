"""Checkpoints that were measured elsewhere, compared and reported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from infimm_eval import logs
from infimm_eval.cli import main
from infimm_eval.run import foreign
from tests import foreign_files as made
from tests import published_run
from tests.foreign.asked import DOCS, IDS, PEOPLE, QUESTIONS


def test_two_logs_of_one_harness_are_compared_by_its_own_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = [f"Question {n}?" for n in range(40)]
    base = made.lmms(
        tmp_path / "a_samples_vqav2_val.jsonl", questions, lambda n: {"exact_match": 1}
    )
    new = made.lmms(tmp_path / "b_samples_vqav2_val.jsonl", questions, lambda n: {"exact_match": 0})
    assert main(["compare", str(base), str(new), "--gate"]) == 1
    assert "100.00  0.00  -100.00" in capsys.readouterr().out
    assert main(["compare", str(base), str(base), "--gate"]) == 0


def test_logs_of_different_harnesses_are_incomparable(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = made.llava(tmp_path / "vqav2.jsonl", IDS, QUESTIONS)
    new = made.lm_eval(tmp_path / "samples_mine.jsonl", DOCS, ["none"])
    command = ["compare", str(base), str(new), "--references", str(data), "--task", "vqav2"]
    assert main([*command, "--gate"]) == 3
    assert "asked_by: LLaVA against lm-eval" in capsys.readouterr().out


def test_a_log_of_some_questions_is_a_subset_in_a_comparison(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made.llava(tmp_path / "vqav2.jsonl", IDS[:2], QUESTIONS[:2])
    assert main(["score", str(path), "--references", str(data)]) == 2
    assert "2 of 4 questions have no prediction" in capsys.readouterr().err
    assert main(["compare", str(path), str(path), "--references", str(data)]) == 0
    said = capsys.readouterr()
    assert re.search(r"VQAv2 +0  95.00  95.00", said.out)
    assert "2 questions of the references are not in the log" in said.err


def test_a_log_is_reported_with_its_own_scores_beside(tmp_path: Path) -> None:
    path = made.lm_eval(tmp_path / "samples_mine.jsonl", DOCS, ["none"])
    reading = foreign.Reading(task="vqav2")
    with foreign.as_runs([path], reading) as (folder,):
        (cell,) = logs.read(folder)
        assert cell.value == pytest.approx(72.5)
        assert cell.metrics["accuracy:lm-eval exact_match"] == pytest.approx(75.0)
        with logs.Log(folder) as log:
            first = next(log.entries(cell.key))
        assert first.score is not None and first.score.parts == {"lm-eval exact_match": 1.0}
    assert not folder.exists()
    assert main(["report", str(path), "--task", "vqav2", "--output", str(tmp_path / "out")]) == 0
    assert "samples" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_the_commands_of_the_documentation_work_as_they_stand_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"question": "q?", "image_id": "a", "question_id": 1, "answers": PEOPLE[0]}]
    (tmp_path / "DIR").mkdir()
    (tmp_path / "DIR" / "TextVQA_0.5.1_val.json").write_text(json.dumps({"data": rows}))
    (tmp_path / "DIR" / "train_images").mkdir()
    made.lmms(
        tmp_path / "20261127_023145_samples_textvqa_val.jsonl",
        ["q?"],
        lambda n: {"submission": {"question_id": 1}},
    )
    for name in "AB":
        made.lmms(tmp_path / f"{name}_samples_vqav2_val.jsonl", QUESTIONS)
    made.sheet(
        tmp_path / "MadeVlm_TextVQA_VAL.xlsx",
        [{"index": 1, "question": "q?", "answer": str(PEOPLE[0])}],
    )
    published_run.make(tmp_path / "results" / "mine")
    page = Path(__file__).parents[2] / "docs" / "logs.md"
    commands = [
        line.split()[3:]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("    python -m infimm_eval ")
    ]
    assert len(commands) == 5
    for command in commands:
        assert main([w.replace("4=", "1=").replace("NAME", "n") for w in command]) == 0, command
