"""``compare``: two runs on the same samples, and a gate for builds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack
from urllib.parse import quote

import click

from infimm_eval.cli.parsing import foreign_options, words, write
from infimm_eval.errors import UsageError

if TYPE_CHECKING:
    from infimm_eval.compare import Cell, Comparison
    from infimm_eval.run.foreign import Reading

    class _Compare(TypedDict):
        """What ``compare`` is called with beside its runs."""

        gated: bool
        tolerance: tuple[str, ...]
        tolerances: Path | None
        tier: tuple[str, ...]
        require: tuple[str, ...]
        pooled: bool
        force: bool
        junit: Path | None
        markdown_: Path | None
        html: Path | None
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
@click.option(
    "--tolerances",
    type=click.Path(exists=True, path_type=Path),
    help="A TOML file: default, [tasks], [tiers], required, pooled.",
)
@click.option(
    "--tier",
    multiple=True,
    metavar="[TASK[@SHOTS]=]TIER",
    help="critical (stops a build alone), supporting (together), advisory (never).  Repeatable.",
)
@click.option(
    "--require", callback=words, help="Tasks without which the gate is incomplete: coco,vqav2@4."
)
@click.option("--pooled", is_flag=True, help="Test all benchmarks together, too.")
@click.option("--force", is_flag=True, help="Compare across different settings, and say so.")
@click.option("--junit", type=_FILE, help="Write JUnit XML.")
@click.option("--markdown", "markdown_", type=_FILE, help="Write Markdown for a comment.")
@click.option("--html", type=_FILE, help="Write a page with both answers of what turned.")
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
    infimm-eval compare baseline.json results/after --gate --tier supporting --tier coco=critical
        COCO stops a build alone, the others where they fall together
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
    found = _compared(cells, comparing.load(rest[0]), given)
    found = comparing.with_texts(found, base, rest[0], given["samples"])
    decision = comparing.gate(found)
    told, shown = decision if given["gated"] else None, given["samples"]
    written = {
        "text": lambda: comparing.plain_text(found, told, shown),
        "markdown": lambda: comparing.markdown(found, told, shown),
        "json": lambda: json.dumps(comparing.as_json(found, decision)),
    }
    click.echo(written["json" if given["as_json"] else given["form"]]())
    if given["junit"] is not None:
        write(given["junit"], comparing.junit(found, decision))
    if (file := given["markdown_"]) is not None:
        pictures = partial(_beside, file)
        write(file, comparing.markdown(found, told, shown, pictures=pictures).encode())
    if given["html"] is not None:
        write(given["html"], comparing.page(found, told).encode())
    return decision.code if given["gated"] else 0


def _compared(cells: Sequence[Cell], fresh: Sequence[Cell], given: _Compare) -> Comparison:
    from infimm_eval import compare as comparing

    file = given["tolerances"]
    allowed = comparing.read_tolerances(file) if file else comparing.Tolerances()
    policy = comparing.read_policy(file) if file else comparing.Policy()
    return comparing.compare(
        cells,
        fresh,
        allowed.updated(given["tolerance"]),
        policy=policy.updated(given["tier"], given["require"], given["pooled"]),
        force=given["force"],
    )


def _beside(file: Path, webp: bytes) -> str:
    """A picture in a folder beside a Markdown file, which GitHub takes no embedded ones from."""
    folder = file.with_name(f"{file.stem}-pictures")
    name = f"{sha256(webp).hexdigest()[:16]}.webp"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}; choose another") from error
    write(folder / name, webp)
    return quote(f"{folder.name}/{name}")
