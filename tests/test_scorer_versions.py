"""A changed scorer is seen, and an old run is scored again by the new one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of the package in which VQA accuracy wants two people more to agree."""
    copy = tmp_path / "copy"
    for name in ("infimm_eval", "tasks", "results"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    scorer = copy / "infimm_eval" / "scorers" / "vqa.py"
    text = scorer.read_text(encoding="utf-8")
    assert text.count("min(3, same - 1)") == 1
    scorer.write_text(text.replace("min(3, same - 1)", "min(3, max(0, same - 3))"), "utf-8")
    return copy


def cli(package: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The command line of one copy of the package, by its exit code and what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "infimm_eval", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package)},
    )


@pytest.mark.slow
def test_a_run_by_an_edited_scorer_is_not_compared_until_the_old_one_is_rescored(
    edited: Path, tmp_path: Path
) -> None:
    asked = ("--tasks", "vqav2", "--model", "fake:yes", "--data", "demo", "--limit", 40, "-q")
    old, new = tmp_path / "old", tmp_path / "new"
    assert cli(ROOT, *asked, "--output", old).returncode == 0
    assert cli(edited, *asked, "--output", new).returncode == 0
    told = cli(edited, "compare", old, new, "--json")
    (row,) = json.loads(told.stdout)["rows"]
    assert row["verdict"] == "incomparable"
    gate = cli(edited, "compare", old, new, "--gate")
    assert gate.returncode == 3 and "rescore RUN" in gate.stdout.replace("&#96;", "`")
    again = cli(edited, "rescore", old)
    assert again.returncode == 0, again.stderr
    (row,) = json.loads(cli(edited, "compare", old, new, "--json").stdout)["rows"]
    assert row["verdict"] == "same"
