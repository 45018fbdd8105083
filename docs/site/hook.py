"""What the site holds beside the pages of ``docs/``: a page about each benchmark, made from its
``Task``, the READMEs of the repository, and links that lead to them.

mkdocs calls ``on_files`` and ``on_page_markdown`` (``hooks`` in ``mkdocs.yml``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from PIL import Image as Pillow

from infimm_eval import registry
from infimm_eval.cli.benchmarks import tasks as verb

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

    from infimm_eval.types import Task

ROOT = Path(__file__).parent.parent.parent
BENCHMARKS = "tasks/README.md"
INCLUDED = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    BENCHMARKS: "benchmarks/index.md",
    "infimm_eval/data/README.md": "data.md",
    "infimm_eval/demo/README.md": "demo-model.md",
    "tests/bench/README.md": "measured.md",
    "results/demo-training/index.html": "demo-training/index.html",
}
"""Pages of the repository by where they stand on the site."""

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_SHOWN = 320
"""Pixels along the longer side of a benchmark's picture."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The generated pages and pictures join those that lie in ``docs/``."""
    from mkdocs.structure.files import File

    for source, place in INCLUDED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    for task in registry.select(["all"]):
        picture = _picture(task)
        if picture is not None:
            files.append(File.generated(config, f"benchmarks/{task.name}.png", content=picture))
        page = "\n".join(_about(task, pictured=picture is not None))
        files.append(File.generated(config, f"benchmarks/{task.name}.md", content=page))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Links between files of the repository become links between pages of the site; those to code
    become the file's name."""
    here = page.file.src_uri
    source = _source_of(here)
    return _LINK.sub(lambda link: _relinked(link, source, PurePosixPath(here)), markdown)


# ---- a benchmark's page


def _about(task: Task, *, pictured: bool) -> Iterator[str]:
    """What its section of the benchmarks' README says, a picture, what the program says."""
    yield f"# {task.title}\n"
    if pictured:
        yield f"![A picture of the demo's {task.title}]({task.name}.png)\n"
    yield _section(task.name)
    yield f"\n## As it is asked\n\n`infimm-eval tasks {task.name}` prints\n"
    yield "```text"
    yield CliRunner().invoke(verb, [task.name], catch_exceptions=False).output.rstrip()
    yield "```"


@cache
def _sections() -> dict[str, str]:
    parts = re.split(r"^## ", (ROOT / BENCHMARKS).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(part.split("\n", 1) for part in parts[1:])


def _section(name: str) -> str:
    """Under a heading of its own level, with the links of its new place."""
    text = _sections()[name].strip()
    at = PurePosixPath(f"benchmarks/{name}.md")
    return _LINK.sub(lambda link: _relinked(link, PurePosixPath(BENCHMARKS), at), text)


def _picture(task: Task) -> bytes | None:
    """The first picture of the demo's first question, as PNG."""
    if task.source.demo is None:
        return None
    (sample,) = (task.sample(row) for row in islice(task.source.demo(), 1))
    if not sample.images:
        return None
    with Pillow.open(BytesIO(sample.images[0].read())) as picture:
        scale = _SHOWN / max(picture.size)
        size = [max(1, round(side * scale)) for side in picture.size]
        shown = picture.convert("RGB").resize(size, Pillow.Resampling.NEAREST)
    out = BytesIO()
    shown.save(out, "PNG", optimize=True)
    return out.getvalue()


# ---- links


def _source_of(place: str) -> PurePosixPath:
    """Where the text of a page lies in the repository."""
    back = {place: source for source, place in INCLUDED.items()}
    return PurePosixPath(back.get(place, f"docs/{place}"))


def _relinked(link: re.Match[str], source: PurePosixPath, at: PurePosixPath) -> str:
    text, target = link.groups()
    path, hash_, part = target.partition("#")
    if not path or re.match(r"[a-z]+:", target):
        return link.group()
    meant = PurePosixPath(os.path.normpath(source.parent / path))
    if (place := _place_of(meant)) is None:
        return f"{text} (`{meant}`)"
    if str(meant) == BENCHMARKS and part in _sections():
        place, hash_, part = f"benchmarks/{part}.md", "", ""
    return f"[{text}]({os.path.relpath(place, at.parent)}{hash_}{part})"


def _place_of(meant: PurePosixPath) -> str | None:
    """Where a file of the repository stands on the site, if it does."""
    if str(meant) in INCLUDED:
        return INCLUDED[str(meant)]
    if meant.parts[0] in ("docs", "benchmarks"):
        inside = PurePosixPath(*meant.parts[1:]) if meant.parts[0] == "docs" else meant
        is_page = (ROOT / "docs" / inside).is_file() or meant.parts[0] == "benchmarks"
        return str(inside) if is_page else None
    return None
