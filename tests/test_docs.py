"""Commands in the pages of ``docs/`` run as they stand, with stand-ins for weights and data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infimm_eval import formats, published, registry
from infimm_eval.cli import main, running

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "published-systems.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    python -m infimm_eval (.*)$", PAGE, re.MULTILINE)
HERE_ONLY = {"--device-map": 2, "--quantization": 2}
"""What only models of the transformers library take, and with how many words."""

STAND_INS = {
    "--model": "fake:yes",
    "--data": "demo",
    "--judge": "demo-judge",
    "--shots": "0,4",
    "--seed": "0",
}


def stood_in(command: str) -> list[str]:
    """The command with a model that is none and drawn data."""
    words = command.split()
    for option, length in HERE_ONLY.items():
        if option in words:
            at = words.index(option)
            words[at : at + length] = []
    for option, value in STAND_INS.items():
        if option in words:
            words[words.index(option) + 1] = value
    return [word for word in words if word not in ("--scorer", "okvqa=stemmed")]  # needs NLTK


@pytest.mark.parametrize("command", COMMANDS)
def test_a_systems_command_is_understood_as_it_stands(command: str) -> None:
    chosen = running.run.make_context("run", command.split()).params
    assert registry.select(chosen["tasks"]) and chosen["data"] == "DIR"
    for task, scorer in chosen["scorer"].items():
        registry.scored_by(registry.load(task), scorer)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_systems_command_runs(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--limit", "2", "--no-companions", "--output", str(tmp_path / "run"), "-q"]
    assert main([*stood_in(command), *small]) == 0
    assert (tmp_path / "run" / "report.md").is_file()
    assert "95 % interval" in capsys.readouterr().out


def test_every_published_few_shot_system_and_every_format_is_on_the_page() -> None:
    systems = {n.model for n in published.numbers() if n.stage in ("pretraining", "few-shot")}
    families = {re.split(r"[- ]", model)[0] for model in systems}
    assert families and all(f"## {family}\n" in PAGE for family in families)
    assert all(f"| `{name}` |" in PAGE for name in formats.FORMATS)


def test_every_model_of_the_openflamingo_table_is_the_published_one() -> None:
    rows = re.findall(r"^\| (OpenFlamingo[^|]+?) \| `([^`]+)` \|", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for system, model in rows:
        assert published.same_model(system, model)
        assert published.find(model, "COCO CIDEr", 4)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", PAGE))))
def test_every_link_of_the_page_leads_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()
