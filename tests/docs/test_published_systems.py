"""The page of published systems: its commands, systems and formats are those that there are."""

from __future__ import annotations

import re

import pytest

from infimm_eval import formats, published, registry
from infimm_eval.cli import running
from tests.docs.pages import COMMANDS, ROOT

PAGE = (ROOT / "docs" / "published-systems.md").read_text(encoding="utf-8")
HERE = [command for block, command in COMMANDS if block.page.endswith("published-systems.md")]


@pytest.mark.parametrize("command", HERE)
def test_a_systems_command_is_understood_as_it_stands(command: str) -> None:
    chosen = running.run.make_context("run", command.split()[3:]).params
    assert registry.select(chosen["tasks"]) and chosen["data"] == "DIR"
    for task, scorer in chosen["scorer"].items():
        registry.scored_by(registry.load(task), scorer)


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
