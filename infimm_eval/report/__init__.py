"""Finished runs to tables, pages and terminal lines.

Reads logs and published numbers; never runs, scores or asks anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from infimm_eval.errors import UsageError
from infimm_eval.report.gather import gather
from infimm_eval.report.in_context import in_context
from infimm_eval.report.latex import latex as _latex
from infimm_eval.report.markdown import markdown
from infimm_eval.report.page import all_samples, page, some_samples
from infimm_eval.report.screen import screen
from infimm_eval.report.show import show
from infimm_eval.report.taught import taught

__all__ = ["latex", "screen", "show", "taught", "write"]


def write(
    folders: Sequence[Path], output: Path, samples: int | None = 200, published: str = "auto"
) -> list[Path]:
    """Write ``report.md`` and ``report.html`` about all runs in ``folders`` into ``output``; where
    these have controls, ``in_context.csv`` and ``in_context.tex`` with what they show.

    The page shows ``samples`` samples, over all benchmarks, and is one file; 200 stay below 5 MB.
    ``None``: all of them, from the folder ``report-samples`` beside it.  ``published``:
    the systems whose printed rows stand in the tables, see ``tables.tables``.  Returns the files.
    Raises ``UsageError`` where a run cannot be read or a file not be written; nothing is written
    when a run cannot be read.
    """
    runs = gather(folders)
    shots = in_context(runs)
    if samples is None:
        volumes = output / "report-samples"
        shown = all_samples(runs, volumes.name, lambda name, text: _written(volumes / name, text))
        _forget(volumes, shown["volumes"])
    else:
        shown = some_samples(runs, samples)
    pages = {
        "report.md": markdown(runs, shots, published),
        "report.html": page(runs, shown, shots, published),
    }
    if shots.taught:
        pages |= {"in_context.csv": shots.csv(), "in_context.tex": shots.latex()}
    return [_written(output / name, text) for name, text in pages.items()]


def latex(folders: Sequence[Path]) -> str:
    """The tables of all runs in ``folders``, beside the published figures, for a paper."""
    return _latex(gather(folders))


def _forget(folder: Path, volumes: int) -> None:
    """Takes away the volumes of an earlier and longer report."""
    for path in folder.glob("*.js"):
        if path.stem.isdecimal() and int(path.stem) >= volumes:
            path.unlink()


def _written(path: Path, text: str) -> Path:
    """The whole file or the old one: a reader never meets a half."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another --output"
        ) from error
    return path
