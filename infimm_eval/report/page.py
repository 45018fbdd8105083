"""The report as an HTML file that opens no connection.  Knows values and templates, no numbers.

All it shows is in the file; or, where it shows every sample, in a folder of volumes beside it,
which it reads as scripts, since a page opened from a disk may read nothing else.

Everything a data set or a model said reaches the page as JSON that only ``textContent`` reads, or
escaped by the template; the page's own policy forbids every script but its own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from infimm_eval.icl.tables import rate_title
from infimm_eval.published import Number
from infimm_eval.report import words
from infimm_eval.report.extents import LEGEND, moves
from infimm_eval.report.frame import beyond, frame, kept_apart, sideways
from infimm_eval.report.gather import Run
from infimm_eval.report.in_context import InContext, forest, tokens
from infimm_eval.report.protocol import (
    brief,
    differences,
    ocr_notes,
    protocols,
    shots_text,
    token_notes,
    zero_shot_notes,
)
from infimm_eval.report.samples import browse, browse_all
from infimm_eval.report.series import breakdowns, over_steps, slopes
from infimm_eval.report.tables import pairs, tables

_TEMPLATES = Path(__file__).parent / "templates"
_COLUMNS = 8
"""Of figures that stand side by side on paper and at 1280 pixels."""
_SAMPLE_BYTES = 4_200_000
"""For every 200 samples, texts and pictures: leaves a report of 200 below 5 MB."""
_VOLUME_BYTES = 2_000_000


def some_samples(runs: Sequence[Run], count: int) -> dict[str, Any]:
    """``count`` samples for ``page``, all that is shown of them included."""
    return browse(runs, count, _SAMPLE_BYTES * max(count, 200) // 200)


def all_samples(
    runs: Sequence[Run], folder: str, write: Callable[[str, str], object]
) -> dict[str, Any]:
    """Every sample for ``page``; ``write`` is given the name and text of each file that belongs
    into ``folder`` beside the page."""

    def keep(number: int, volume: dict[str, Any]) -> None:
        write(f"{number}.js", f"infimmVolume({number},{_json(volume)});\n")

    return {**browse_all(runs, keep, _VOLUME_BYTES), "folder": folder}


def page(
    runs: Sequence[Run], samples: Mapping[str, Any], taught: InContext, systems: str = "auto"
) -> str:
    """The whole file; ``systems`` as ``tables`` takes them."""
    return rendered(
        "report.html.j2",
        policy=_policy("'self' file:" if "folder" in samples else ""),
        runs=runs,
        models=list(dict.fromkeys(run.model for run in runs)),
        notice=words.demo_notice([cell for run in runs for cell in run.cells]),
        tables=tables(runs, systems),
        pairs=pairs(runs),
        slopes=slopes(runs),
        steps=over_steps(runs),
        breakdowns=breakdowns(runs),
        moves=moves(runs),
        in_context=taught,
        protocols=protocols(runs),
        zero_shot_notes=[*zero_shot_notes(runs), *ocr_notes(runs), *token_notes(runs)],
        data=_json(samples),
        folder=samples.get("folder"),
    )


def rendered(template: str, policy: str = "", **values: Any) -> str:
    """A page from one of the templates, which also have the style, the script and the policy that
    forbids any other."""
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            style=Markup(_asset("page.css")),
            script=Markup(_asset("page.js")),
            policy=policy or _policy(""),
        )
    )


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "words": words,
        "shots_text": shots_text,
        "brief": brief,
        "differences": differences,
        "beyond": beyond,
        "forest": forest,
        "frame": frame,
        "kept_apart": kept_apart,
        "rate_title": rate_title,
        "sideways": sideways,
        "tokens": tokens,
        "COLUMNS": _COLUMNS,
        "MOVES": LEGEND,
        "is_printed": lambda entry: isinstance(entry, Number),
    }
    return environment


@cache
def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _policy(volumes: str) -> str:
    """The page's Content-Security-Policy: its own style and script, pictures it carries itself,
    and where its ``volumes`` are read from."""
    script, style = (
        base64.b64encode(sha256(_asset(name).encode()).digest()).decode()
        for name in ("page.js", "page.css")
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}';"
        f" script-src 'sha256-{script}' {volumes}; base-uri 'none'; form-action 'none'"
    )


def _json(values: Any) -> Markup:
    """JSON for a ``<script type="application/json">``: ASCII, and nothing that could end it."""
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    for special in "<>&":
        text = text.replace(special, f"\\u{ord(special):04x}")
    return Markup(text)
