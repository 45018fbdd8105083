"""Numbers as a reader expects to see them, whatever page they stand on.  Knows no page."""

from __future__ import annotations

from collections.abc import Sequence

from infimm_eval import icl
from infimm_eval.icl import Contrast, Curve, Diagnosis, Rate
from infimm_eval.logs import Cell
from infimm_eval.published import Number
from infimm_eval.report.gather import has_demo_data, has_demo_model
from infimm_eval.report.tables import Figure, Line, Table

ABSENT = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"

LEGEND = (
    "The best of a column is bold. Brackets hold the 95 % interval; n counts the samples, unscored"
    " ones included. Figures of papers are set in italics. A difference is measured minus"
    " published, for the same model; the published figure lies inside or outside the interval."
)
IN_CONTEXT = (
    "What the shots taught: each contrast is a difference of two cells over the same samples, with"
    " its 95 % interval. Beside it: how many answers changed, and p after Holm's correction over"
    " the contrasts of the cell."
)
REAL_HINT = "For real ones name a model and its data:"
REAL_OPTIONS = "--model CHECKPOINT --data DIR"


def printed(value: float) -> str:
    """One decimal, more where the source prints more."""
    return f"{value:.1f}" if abs(value * 10 - round(value * 10)) < 1e-6 else f"{value:.2f}"


def measured(value: float | None) -> str:
    """One decimal, or a dash."""
    return ABSENT if value is None else f"{value:.1f}"


def interval(bounds: tuple[float, float] | None) -> str:
    """In brackets."""
    return f"[{bounds[0]:.1f}, {bounds[1]:.1f}]" if bounds else ""


def spread(figure: Figure) -> str:
    """The deviation over seeds."""
    return f"± {figure.deviation:.1f}" if figure.deviation is not None else ""


def size(figure: Figure) -> str:
    """How many samples, and over how many seeds."""
    many = f" {TIMES} {figure.seeds} seeds" if figure.seeds > 1 else ""
    return f"n {figure.n:,}{many}" if figure.n else ""


def verdict(figure: Figure, number: Number) -> str:
    """``+2.3, inside``: measured minus published, and where the published figure lies."""
    if figure.value is None:
        return ""
    where = {True: ", inside", False: ", outside", None: ""}
    return f"{signed(figure.value - number.value)}{where[figure.within(number)]}"


def blind(figure: Figure) -> str:
    """``blind 33.4, gain +40.4``: the score with blank query pictures, and what looking gains."""
    if figure.blind is None or figure.value is None:
        return ""
    return f"blind {measured(figure.blind)}, gain {signed(figure.value - figure.blind)}"


def signed(value: float) -> str:
    """One decimal with a sign."""
    return f"{value:+.1f}".replace("-", MINUS)


def correlation(value: float, bounds: tuple[float, float]) -> str:
    """Two decimals, with the interval."""
    low, high = (f"{bound:+.2f}".replace("-", MINUS) for bound in bounds)
    return f"{value:+.2f}".replace("-", MINUS) + f" [{low}, {high}]"


def percent(value: float | None) -> str:
    """A share of a hundred; a dash where there is none."""
    return ABSENT if value is None else f"{value:.1f} %"


def p_value(value: float) -> str:
    """Three decimals, or that it is smaller."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def paired(contrast: Contrast) -> str:
    """How many samples a contrast is over, and how many it leaves out."""
    out = f" ({contrast.left_out:,} with other shots left out)" if contrast.left_out else ""
    return f"{contrast.n:,}{out}"


def touched(figure: icl.Figure) -> str:
    """In how many prompts a control changed something."""
    return ABSENT if figure.n_changed is None else f"{figure.n_changed:,}"


def rate(found: Rate) -> str:
    """A rate with its interval."""
    return f"{measured(found.value)} {interval(found.ci95)}".strip()


def rates(one: Diagnosis) -> dict[str, Rate]:
    """The rates of a diagnosis, the vote without a model among them."""
    baseline = one.majority_baseline
    return {**one.rates, **({"majority_baseline": baseline} if baseline else {})}


def leakage(found: icl.Leakage) -> str:
    """Where it comes from: both scores, and their paired difference with its interval."""
    scores = f"{measured(found.without_pictures)} without pictures, {measured(found.bare)} of"
    apart = f"{signed(found.difference)} {interval(found.ci95)}"
    return f"{scores} {found.language_model}: {apart} over {found.n:,} samples"


def order_spread(one: Diagnosis) -> str:
    """How much the figure moves with the order of the shots; "" where that was not measured."""
    if one.order_spread is None:
        return ""
    return f"Over random orders of its shots the figure deviates by {one.order_spread:.1f}."


def score(value: float | None) -> str:
    """One answer's."""
    return "unscored" if value is None else f"{100 * value:.0f}"


def curve(found: Curve) -> str:
    """A curve in a phrase."""
    start = f"; the first point is {found.zero_shot}" if found.zero_shot else ""
    return (
        f"area under the curve {found.area:.1f} (over log2(1 + shots)), peak at {found.peak}, "
        f"within a point of it from {found.near_peak} on{start}"
    )


def origin(number: Number) -> str:
    """Where a published number comes from and under which conditions."""
    split = "split not stated" if number.split == "not stated" else number.split
    note = number.note.removeprefix("split, ")  # said already
    return f"{number.source}, {split}" + (f"; {note}" if note else "")


def notes(line: Line) -> str:
    """What has to be known of a printed row: first of all its figures, then column by column."""
    printed = {c: e for c, e in line.entries.items() if isinstance(e, Number) and e.note}
    columns: dict[str, list[str]] = {}
    for column, number in printed.items():
        for remark in number.note.split("; "):
            columns.setdefault(remark, []).append(column)
    remarks: dict[str, list[str]] = {}
    for remark, of in columns.items():
        of_all = len(of) == sum(isinstance(entry, Number) for entry in line.entries.values())
        remarks.setdefault("" if of_all else f"{', '.join(of)}: ", []).append(remark)
    return ". ".join(whose + "; ".join(remarks[whose]) for whose in sorted(remarks, key=bool))


def footnotes(table: Table) -> dict[str, int]:
    """What has to be known of rows, each note once, with its number below the table."""
    told = dict.fromkeys(note for line in table.lines if (note := notes(line)))
    return {note: number for number, note in enumerate(told, start=1)}


def demo_notice(cells: Sequence[Cell]) -> str:
    """What a reader has to know before the first figure; empty for real models on real data."""
    model, data = any(map(has_demo_model, cells)), any(map(has_demo_data, cells))
    if not (model or data):
        return ""
    subject = {
        (True, True): "the demo's tiny model on the demo's drawn scenes",
        (True, False): "the demo's tiny model",
        (False, True): "the demo's drawn scenes",
    }[model, data]
    return (
        f"These figures are from {subject}: they show that everything works, and say nothing"
        " about a published model or benchmark."
    )
