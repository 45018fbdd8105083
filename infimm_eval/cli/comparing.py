"""``compare``: two runs on the same samples, and a gate for builds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from infimm_eval.cli.parsing import write
from infimm_eval.errors import UsageError

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
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
@click.option("--save-baseline", type=_FILE, help="Write BASE as a small file to commit.")
def compare(
    base: Path,
    new: Path | None,
    gated: bool,
    tolerance: tuple[str, ...],
    tolerances: Path | None,
    force: bool,
    junit: Path | None,
    markdown_: Path | None,
    as_json: bool,
    save_baseline: Path | None,
) -> int:
    """Compare run (or baseline file) NEW with BASE, paired on samples.

    \b
    infimm-eval compare results/before results/after
    infimm-eval compare baseline.json results/after --gate --tolerance 1 --junit gate.xml
        a build fails where something got worse by more than a point
    infimm-eval compare results/best --save-baseline baseline.json
    """
    from infimm_eval import compare as comparing

    cells = comparing.load(base)
    if save_baseline is not None:
        comparing.save_baseline(cells, save_baseline)
        click.echo(f"baseline: {save_baseline}", err=True)
    if new is None:
        if save_baseline is None:
            raise UsageError("name the run to compare: compare BASE NEW (or --save-baseline FILE)")
        return 0
    allowed = comparing.read_tolerances(tolerances) if tolerances else comparing.Tolerances()
    found = comparing.compare(cells, comparing.load(new), allowed.updated(tolerance), force=force)
    decision = comparing.gate(found)
    text = comparing.markdown(found, decision if gated else None)
    click.echo(json.dumps(comparing.as_json(found, decision)) if as_json else text)
    if junit is not None:
        write(junit, comparing.junit(found, decision))
    if markdown_ is not None:
        write(markdown_, text.encode())
    return decision.code if gated else 0
