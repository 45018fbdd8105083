"""``compare``: two runs on the same samples, and a gate for builds."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from infimm_eval.cli.parsing import foreign_options, write
from infimm_eval.errors import UsageError

if TYPE_CHECKING:
    from infimm_eval.run.foreign import Reading

    class _Compare(TypedDict):
        """What ``compare`` is called with beside its runs."""

        gated: bool
        tolerance: tuple[str, ...]
        tolerances: Path | None
        force: bool
        junit: Path | None
        markdown_: Path | None
        form: str
        as_json: bool
        samples: int
        save_baseline: Path | None


_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("base", type=_FILE)
@click.argument("new", type=_FILE, required=False)
@click.option("--gate", "gated", is_flag=True, help="Exit 1 on a regression, 3 on a gap.")
@click.option(
    "--tolerance",
    multiple=True,
    metavar="[TASK[@SHOTS]=]DROP",
    help="An allowed drop: 1.5 points, 2% of the base, coco=2, coco@4=0.5%.  Repeatable.",
)
@click.option("--tolerances", type=click.Path(exists=True, path_type=Path), help="A TOML file.")
@click.option("--force", is_flag=True, help="Compare across different settings, and say so.")
@click.option("--junit", type=_FILE, help="Write JUnit XML.")
@click.option("--markdown", "markdown_", type=_FILE, help="Write Markdown for a comment.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="What is printed.",
)
@click.option("--json", "as_json", is_flag=True, help="--format json, as it was called before.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Changed samples to show of each benchmark, the largest losses first.",
)
@click.option("--save-baseline", type=_FILE, help="Write BASE as a small file to commit.")
@foreign_options
@click.pass_context
def compare(
    ctx: click.Context,
    base: Path,
    new: Path | None,
    reading: Reading,
    **given: Unpack[_Compare],
) -> int:
    """Compare run (or baseline file, or another harness's log) NEW with BASE, paired on samples.

    \b
    infimm-eval compare results/before results/after
    infimm-eval compare results/before results/after --format markdown > comment.md
    infimm-eval compare baseline.json results/after --gate --tolerance 1 --junit gate.xml
        a build fails where something got worse by more than a point
    infimm-eval compare results/best --save-baseline baseline.json
    infimm-eval compare before_samples.jsonl after_samples.jsonl --references DIR
        two checkpoints that another harness has measured
    """
    from infimm_eval import compare as comparing
    from infimm_eval.run.foreign import as_runs

    note = partial(click.echo, err=True)
    base, *rest = ctx.with_resource(as_runs([base, *([new] if new else [])], reading, note))
    cells = comparing.load(base)
    if given["save_baseline"] is not None:
        comparing.save_baseline(cells, given["save_baseline"])
        click.echo(f"baseline: {given['save_baseline']}", err=True)
    if new is None:
        if given["save_baseline"] is None:
            raise UsageError("name the run to compare: compare BASE NEW (or --save-baseline FILE)")
        return 0
    file = given["tolerances"]
    allowed = comparing.read_tolerances(file) if file else comparing.Tolerances()
    allowed = allowed.updated(given["tolerance"])
    found = comparing.compare(cells, comparing.load(rest[0]), allowed, force=given["force"])
    found = comparing.with_texts(found, base, rest[0], given["samples"])
    decision = comparing.gate(found)
    shown = decision if given["gated"] else None
    written = {
        "text": lambda: comparing.plain_text(found, shown, given["samples"]),
        "markdown": lambda: comparing.markdown(found, shown, given["samples"]),
        "json": lambda: json.dumps(comparing.as_json(found, decision)),
    }
    click.echo(written["json" if given["as_json"] else given["form"]]())
    if given["junit"] is not None:
        write(given["junit"], comparing.junit(found, decision))
    if given["markdown_"] is not None:
        write(given["markdown_"], written["markdown"]().encode())
    return decision.code if given["gated"] else 0
