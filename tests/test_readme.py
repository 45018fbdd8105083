"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from infimm_eval.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_benchmark_in_twelve_lines_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = re.search(r"```python\n(\"\"\"Signs.*?)```", README, re.DOTALL)
    assert plugin is not None
    (tmp_path / "signs.py").write_text(plugin[1])
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
    command = ["--tasks", str(tmp_path / "signs.py"), "--shots", "0,2", "--data", str(tmp_path)]
    run = ["--model", "fake:yes", "--output", str(tmp_path / "run"), "-q"]
    assert main([*command, *run]) == 0
    assert "100.0" in capsys.readouterr().out


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
