"""What stands in the pages of the documentation: commands of a shell, and blocks in a language.

A block that is indented holds commands; one between fences is in the language that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(ROOT / name for name in ("tasks/README.md", "infimm_eval/data/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
)
SHELL = "shell"
_FENCE = re.compile(r"```(\w*)$")
_EXPLAINED = re.compile(r"\s{2,}#.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Some lines of a page in one language."""

    page: str
    line: int
    """Of its first line, from 1."""
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Each command of a shell, lines that go on joined, without what explains it."""
        text = _EXPLAINED.sub("", self.text.replace("\\\n", ""))
        return [line.strip() for line in text.split("\n") if line.strip()]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Every block of a page, in order."""
    lines = page.read_text(encoding="utf-8").split("\n")
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        begun = lines[at].startswith("    ") and not (at and lines[at - 1])
        if fence:
            inside = list(takewhile(lambda line: line != "```", lines[at + 1 :]))
            yield Block(name(page), at + 2, fence[1], "\n".join(inside))
            at += len(inside) + 1
        elif begun:
            inside = list(takewhile(lambda line: line.startswith("    "), lines[at:]))
            yield Block(name(page), at + 1, SHELL, "\n".join(line[4:] for line in inside))
            at += len(inside) - 1
        at += 1


ALL = [block for page in PAGES for block in blocks(page)]
COMMANDS = [(b, command) for b in ALL if b.language == SHELL for command in b.commands]
