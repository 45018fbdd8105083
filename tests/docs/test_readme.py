"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
from PIL import Image

from infimm_eval import logs
from infimm_eval.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(after: str) -> str:
    """The first Python block behind a heading or sentence."""
    found = re.search(r"```python\n(.*?)```", README[README.index(after) :], re.DOTALL)
    assert found is not None
    return found[1]


def command(start: str) -> list[str]:
    """An indented command line of the README, without ``python -m infimm_eval``."""
    (line,) = (at.strip() for at in README.splitlines() if at.startswith(f"    {start}"))
    return line.split()[3:]


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """A folder of photographs with questions about them."""
    (tmp_path / "photos").mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / f"{number}.png")
    for split, start in (("test", 0), ("train", 2)):
        rows = [
            {"id": str(n), "image": f"{n}.png", "question": "Stop?", "answer": "Yes"}
            for n in range(start, start + 4)
        ]
        text = "\n".join(map(json.dumps, rows))
        (tmp_path / f"{split}.jsonl").write_text(text)
    return tmp_path


def test_the_benchmark_in_twelve_lines_runs(
    signs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (signs / "signs.py").write_text(block("## A benchmark of your own in 12 lines"))
    words = ["--tasks", str(signs / "signs.py"), "--shots", "0,2", "--data", str(signs)]
    assert main([*words, "--model", "fake:yes", "--output", str(signs / "run"), "-q"]) == 0
    assert "100.0" in capsys.readouterr().out


def test_the_scorer_of_ones_own_scores_that_benchmark(
    signs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (signs / "exact.py").write_text(block("A scorer of your own"))
    task = block("## A benchmark of your own in 12 lines").replace(
        "from infimm_eval.scorers import yesno\n",
        "import sys\nsys.path.insert(0, __file__.rpartition('/')[0])\nfrom exact import SCORER\n",
    )
    (signs / "signs.py").write_text(task.replace("yesno.plain", "SCORER"))
    words = ["--tasks", str(signs / "signs.py"), "--data", str(signs), "--model", "fake:yes"]
    assert main([*words, "--output", str(signs / "run"), "-q"]) == 0
    assert "100.0" in capsys.readouterr().out
    (cell,) = json.loads((signs / "run" / "results.json").read_text())["cells"]
    scorer = cell["settings"]["protocol"]["scorer"]
    assert (scorer["name"], scorer["version"]) == ("exact", 1) and scorer["digest"]


@pytest.mark.slow
def test_the_model_of_ones_own_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("constant.py").write_text(block("## A model of your own"))
    words = command("python -m infimm_eval --model ./constant.py")
    assert main([*words, "--limit", "20", "--output", "run", "-q"]) == 0
    assert "VQAv2" in capsys.readouterr().out
    with logs.Log(Path("run")) as log:
        assert {entry.said for entry in log.entries(log.shown()[0].key)} == {"no"}


@pytest.mark.slow
def test_the_lines_of_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block("## From Python"), "README.md", "exec"), {})
    assert Path("results/mine/report.html").is_file()
    assert "score" in capsys.readouterr().out


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link.partition("#")[0]).exists()


def test_the_page_of_costs_is_what_the_measured_stages_give() -> None:
    """Make it anew with ``python docs/make_cost.py``."""
    make = runpy.run_path(str(ROOT / "docs" / "make_cost.py"))
    assert (ROOT / "docs" / "cost.md").read_text(encoding="utf-8") == make["page"]()


def test_a_cost_is_the_measured_load_s_and_falls_until_one_process_is_the_limit() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_cost.py"))
    cost, (small, middle, large) = make["cost"], make["MODELS"]
    measured = cost(3072, 768, 4, small, 1)
    assert measured.hours * 3600 == pytest.approx(3072 / 200, rel=0.1)
    hours = [cost(214_354, 40_504, 4, small, gpus).hours for gpus in (1, 2, 8, 64, 128)]
    assert hours[0] == pytest.approx(2 * hours[1]) and hours[3] == hours[4]
    assert cost(214_354, 40_504, 4, small, 64).bottleneck == "the driving process"
    assert cost(100, 100, 4, large, 1) is None
    assert cost(100, 100, 4, middle, 1).hours < cost(100, 100, 4, large, 5).hours


def test_the_page_of_parts_is_what_the_docstrings_say() -> None:
    """Make it anew with ``python docs/make_parts.py``."""
    written = ROOT / "docs" / "parts.md"
    make = runpy.run_path(str(ROOT / "docs" / "make_parts.py"))
    assert written.read_text(encoding="utf-8") == make["page"]()
