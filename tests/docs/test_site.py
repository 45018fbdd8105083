"""The site of the documentation: its pages, their links, and the commands that stand in them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from infimm_eval import registry
from infimm_eval.cli import infimm_eval
from tests.docs.pages import COMMANDS, ROOT

PROGRAM = re.compile(r"(?:python -m infimm_eval|infimm-eval) ")


def commands() -> list[Any]:
    """The words of every command of this program."""
    own = ((block, command) for block, command in COMMANDS if PROGRAM.match(command))
    return [
        pytest.param(shlex.split(PROGRAM.sub("", command, count=1)), id=f"{block.place} {n}")
        for n, (block, command) in enumerate(own)
    ]


@pytest.fixture(scope="module")
def hook() -> Any:
    spec = importlib.util.spec_from_file_location("hook", ROOT / "docs" / "site" / "hook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("words", commands())
def test_a_command_of_the_documentation_is_one_that_the_program_knows(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in words:
        if re.fullmatch(r"[\w./-]+\.(json|jsonl|xlsx|tsv|toml|db)", word):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
        elif re.fullmatch(r"(DIR|FOLDER|(runs|results)/[\w-]+)", word):
            Path(word).mkdir(parents=True, exist_ok=True)
    verb = infimm_eval.commands.get(words[0])
    verb, words = (verb, words[1:]) if verb else (infimm_eval.commands["run"], words)
    assert verb.make_context(verb.name, list(words)) is not None


def test_links_between_files_become_links_between_pages(hook: Any) -> None:
    at = PurePosixPath("overview.md")

    def moved(text: str, source: str = "README.md", at: PurePosixPath = at) -> str:
        return hook._LINK.sub(lambda m: hook._relinked(m, PurePosixPath(source), at), text)

    assert moved("[w](docs/watch.md#when)") == "[w](watch.md#when)"
    assert moved("[b](tasks/README.md)") == "[b](benchmarks/index.md)"
    assert moved("[m](tasks/README.md#mme)") == "[m](benchmarks/mme.md)"
    assert moved("[t](infimm_eval/types.py)") == "t (`infimm_eval/types.py`)"
    assert moved("[x](https://example.org/a.md)") == "[x](https://example.org/a.md)"
    inside = PurePosixPath("benchmarks/coco.md")
    assert (
        moved("[d](../infimm_eval/data/README.md)", "tasks/README.md", inside) == "[d](../data.md)"
    )


def test_every_page_that_is_included_exists_and_every_benchmark_has_its_section(hook: Any) -> None:
    assert all((ROOT / source).is_file() for source in hook.INCLUDED)
    for task in registry.select(["all"]):
        assert "As it is asked" in "\n".join(hook._about(task, pictured=False))


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs").glob("*.md"))
    assert [page.name for page in pages if f" {page.name}" not in nav] == []
