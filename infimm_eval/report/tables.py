"""Runs to tables: the published ones, those by group, and whatever no paper has.

It refuses to know Markdown, HTML and terminals: a table here is values in rows and columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import TypeAlias

from infimm_eval import published
from infimm_eval.errors import unknown
from infimm_eval.logs import Cell
from infimm_eval.published import Number
from infimm_eval.report.gather import Run, by_spot, has_demo_data, is_demo, section


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured number: one cell's, or the mean over the seeds of one."""

    value: float | None
    """In published units; ``None`` where nothing could be scored."""
    interval: tuple[float, float] | None
    """95 %; over several seeds the mean of their bounds, since they share the samples."""
    n: int
    """Samples of one seed, unscored ones included."""
    seeds: int = 1
    deviation: float | None = None
    """Over the seeds (of the sample, n - 1)."""
    unscored: int = 0
    unparsed: int = 0
    limit: int | None = None
    n_of: int | None = None
    """How many samples the published split has, where fewer were asked."""
    cut: int = 0
    empty: int = 0
    shortened: int = 0
    """Prompts that lost shots to the model's context, and how many shots together."""
    lost_shots: int = 0
    others: int = 0
    """Further figures of the same spot that the run's folder holds."""
    upper_bound: bool = False
    """Whether its shots were selected by the answers."""
    complete: bool = True
    blind: float | None = None
    """The same with blank query pictures (``query=blank``), where that was run."""
    demo: bool = False
    against: tuple[Number, ...] = ()
    """What was published for the same model, column and shots; the table's own stage first."""

    @property
    def marks(self) -> tuple[str, ...]:
        """``complete``, or what keeps it from being so; and what else has to be known of it."""
        marks = []
        if self.limit is not None:
            marks.append(f"limited to {self.limit:,}")
        elif self.n_of is not None:
            marks.append(f"subset of {self.n_of:,}")
        if self.unscored:
            marks.append(f"{self.unscored:,} unscored")
        if not marks:
            marks.append("complete" if self.complete else "incomplete")
        counted = {"cut by the limit": self.cut, "empty": self.empty}
        marks += [f"{count:,} {what}" for what, count in counted.items() if count]
        if self.shortened:
            lost = f" ({self.lost_shots:,} in all)" if self.lost_shots else ""
            marks.append(f"{self.shortened:,} prompts without some shots{lost}")
        if self.upper_bound:
            marks.append("upper bound, uses the answers")
        if self.others:
            marks.append(f"{self.others} further in the folder")
        return tuple(marks)

    def within(self, number: Number) -> bool | None:
        """Whether a published number lies in the interval; ``None`` where there is none."""
        return self.interval and self.interval[0] <= number.value <= self.interval[1]


Entry: TypeAlias = Figure | Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row: a model at one shot count, measured by us or printed by a paper."""

    name: str
    shots: int
    entries: Mapping[str, Entry]
    measured: bool

    @property
    def demo(self) -> bool:
        """Whether any figure of the row is of the demo."""
        return any(isinstance(entry, Figure) and entry.demo for entry in self.entries.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows and columns of values."""

    key: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = field(default=())

    def wrapped(self, most: int) -> list[Table]:
        """Tables of at most ``most`` columns, about as many each; rows without a figure there are
        left out."""
        count = max(1, -(-len(self.columns) // most))
        size = -(-len(self.columns) // count)
        parts = [self.columns[at : at + size] for at in range(0, len(self.columns), size)]
        return [
            replace(
                self,
                key=self.key if at == 0 else f"{self.key}-{at + 1}",
                columns=columns,
                lines=tuple(line for line in self.lines if set(columns) & set(line.entries)),
            )
            for at, columns in enumerate(parts)
        ]

    def best(self, column: str) -> float | None:
        """The highest value of a column, of every benchmark here the best; ``None`` where there is
        nothing to choose from.  Upper bounds do not take part, nor figures of the demo where the
        column holds others."""
        found = [entry for line in self.lines if (entry := line.entries.get(column)) is not None]
        real = [entry for entry in found if isinstance(entry, Number) or not entry.demo]
        entries = [e for e in real or found if isinstance(e, Number) or not e.upper_bound]
        values = [entry.value for entry in entries if entry.value is not None]
        return max(values) if len(values) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A measured figure of a model that papers have figures for."""

    name: str
    column: str
    shots: int
    figure: Figure
    cell: Cell


def tables(runs: Sequence[Run], systems: str = "auto") -> list[Table]:
    """The tables that these runs have a number for, in the papers' order.

    ``systems`` says whose printed rows stand in them: ``auto`` takes those of the runs' families,
    and InfiMM's table for models of others; ``all``, ``none``, or names of models and families,
    comma-separated.  ``UsageError`` for a name that nothing was published under.
    """
    wanted = _wanted(systems, runs)
    made = [
        *(_published(stage, runs, wanted) for stage in published.STAGES),
        *(_by_group(column, runs) for column in published.breakdown_columns()),
        _further(runs),
    ]
    return [table for table in made if any(line.measured for line in table.lines)]


def pairs(runs: Iterable[Run]) -> list[Pair]:
    """Every measured figure that something was published for, by run."""
    return [
        Pair(name=run.name, column=column, shots=shots, figure=made, cell=cells[0])
        for run in runs
        for (_, shots, _), cells in by_spot(run.cells).items()
        for column, metric in cells[0].columns.items()
        if (made := figure(cells, metric, against(column, cells[0]))).against
    ]


def figure(
    cells: Sequence[Cell],
    metric: str,
    printed: tuple[Number, ...] = (),
    blind: Sequence[Cell] = (),
) -> Figure:
    """One metric of one task and shot count; ``cells`` differ in their seed alone, and so do those
    with ``blind`` queries."""
    unseen = [v for cell in blind if (v := _value(cell, metric)) is not None]
    values = [v for cell in cells if (v := _value(cell, metric)) is not None]
    bounds = [cell.ci95 for cell in cells if metric == cell.headline and cell.ci95 is not None]
    limits = [cell.limit for cell in cells if cell.limit is not None]
    return Figure(
        value=fmean(values) if values else None,
        interval=(fmean(b[0] for b in bounds), fmean(b[1] for b in bounds)) if bounds else None,
        n=max(cell.n for cell in cells),
        seeds=len(cells),
        deviation=stdev(values) if len(values) > 1 else None,
        unscored=sum(cell.unscored for cell in cells),
        unparsed=sum(cell.unparsed for cell in cells),
        limit=min(limits) if limits else None,
        n_of=max((cell.n_of or 0 for cell in cells if cell.subset), default=None),
        cut=sum(cell.cut for cell in cells),
        empty=sum(cell.empty for cell in cells),
        shortened=sum(cell.shortened for cell in cells),
        lost_shots=sum(cell.lost_shots for cell in cells),
        others=sum(cell.others for cell in cells),
        upper_bound=any(cell.support == "oracle" for cell in cells),
        complete=all(cell.complete for cell in cells),
        blind=fmean(unseen) if unseen else None,
        demo=any(is_demo(cell) for cell in cells),
        against=() if any(has_demo_data(cell) for cell in cells) else printed,
    )


def blind_of(run: Run, cell: Cell) -> list[Cell]:
    """The cells of the same spot with blank query pictures."""
    spot = (cell.task, cell.shots, cell.support)
    found = [c for c in run.cells if c.control == "query=blank"]
    return [c for c in found if (c.task, c.shots, c.support) == spot]


def _value(cell: Cell, metric: str) -> float | None:
    return cell.value if metric == cell.headline else cell.metrics.get(metric)


def _wanted(systems: str, runs: Sequence[Run]) -> Callable[[Number], bool]:
    """Whether a printed figure is one of those asked for."""
    if systems in ("all", "none"):
        return lambda number: systems == "all"
    if systems != "auto":
        named = [name.strip() for name in systems.split(",") if name.strip()]
        _require_published(named)
        return lambda number: any(_named(number.model, name) for name in named)
    models = {run.model for run in runs}
    shots = {cell.shots for run in runs for cell in run.cells}
    others = {n.model for n in published.numbers() if n.stage == published.FEW_SHOT}
    strangers = any(not any(published.related(m, other) for other in others) for m in models)

    def wanted(number: Number) -> bool:
        of_family = any(published.related(number.model, model) for model in models)
        if number.stage == published.FEW_SHOT:
            return of_family and number.shots in shots
        return of_family or strangers or number.stage != published.STAGES[0]

    return wanted


def _named(model: str, name: str) -> bool:
    return published.same_model(model, name) or published.family(model) == name.lower()


def _require_published(names: Iterable[str]) -> None:
    known = dict.fromkeys(number.model for number in published.numbers())
    for name in names:
        if not any(_named(model, name) for model in known):
            raise unknown("published system", name, known)


def _published(stage: str, runs: Sequence[Run], wanted: Callable[[Number], bool]) -> Table:
    columns, stages = published.columns(stage), {stage}
    if stage == published.STAGES[0]:
        stages.add(published.FEW_SHOT)
        shown = {column for run in runs for cell in run.cells for column in cell.columns}
        columns += tuple(c for c in published.further_columns() if c in shown)
    title = f"{stage.capitalize()} benchmarks"
    numbers = (n for n in published.numbers() if n.stage in stages and n.task in columns)
    printed = _printed_lines(filter(wanted, numbers))
    measured = [line for run in runs for line in _measured_lines(columns, run)]
    return Table(
        key=stage, title=title, columns=columns, lines=tuple(_together(measured, printed, runs))
    )


def _together(
    measured: Sequence[Line], printed: Iterable[Line], runs: Sequence[Run]
) -> Iterator[Line]:
    """A measured line stands right above what was printed for the same model and shots; what was
    printed for others comes last."""
    below: dict[int, list[Line]] = {}
    for row in printed:
        places = [
            at
            for at, line in enumerate(measured)
            if line.shots == row.shots
            and not line.demo
            and any(_same(line, run, row) for run in runs)
        ]
        below.setdefault(places[-1] if places else len(measured), []).append(row)
    for at, line in enumerate(measured):
        yield line
        yield from below.get(at, ())
    yield from below.get(len(measured), ())


def _same(line: Line, run: Run, printed: Line) -> bool:
    models = {entry.model for entry in printed.entries.values() if isinstance(entry, Number)}
    return line.name == run.name and any(published.same_model(run.model, m) for m in models)


def _printed_lines(numbers: Iterable[Number]) -> list[Line]:
    """By model and shots; where two sources print one figure differently, a line for each."""
    rows: dict[str, dict[tuple[int, str], dict[str, Entry]]] = {}
    for number in numbers:
        lines = rows.setdefault(number.model, {})
        entries = lines.setdefault((number.shots, number.model), {})
        if number.task in entries:
            name = f"{number.model}, {number.source}"
            entries = lines.setdefault((number.shots, name), {})
        entries[number.task] = number
    return [
        Line(name=name, shots=shots, entries=entries, measured=False)
        for lines in rows.values()
        for (shots, name), entries in sorted(lines.items(), key=lambda line: line[0])
    ]


def _measured_lines(columns: Iterable[str], run: Run) -> list[Line]:
    rows: dict[tuple[int, str], dict[str, Entry]] = {}
    for (_, shots, support), cells in by_spot(run.cells).items():
        for column, metric in cells[0].columns.items():
            told = any(metric in (cell.headline, *cell.metrics) for cell in cells)
            if column in columns and told:
                printed = against(column, cells[0])
                made = figure(cells, metric, printed, blind_of(run, cells[0]))
                rows.setdefault((shots, support), {})[column] = made
    several = Counter(shots for shots, _ in rows)
    return [
        Line(
            name=f"{run.name} ({support} shots)" if several[shots] > 1 else run.name,
            shots=shots,
            entries=entries,
            measured=True,
        )
        for (shots, support), entries in sorted(rows.items())
    ]


def against(column: str, cell: Cell) -> tuple[Number, ...]:
    """What was published for a cell's model in a column, with shots selected as the cell's.

    First what was measured in the cell's prompt format and what is of the column's own stage: a
    chat model's VQA figure may be published for two.
    """
    asked = section(cell, "protocol").get("prompt_format", "infimm")

    def apart(number: Number) -> tuple[bool, bool]:
        return number.stage == "multi-task", number.conditions.prompt_format not in (None, asked)

    return tuple(
        sorted(published.find(cell.model, column, cell.shots, cell.support or ""), key=apart)
    )


def _by_group(column: str, runs: Sequence[Run]) -> Table:
    """A benchmark whose figures are also printed by group of its samples (a discipline, say)."""
    groups = published.breakdown_groups(column)
    found = [
        (run, shots, cells)
        for run in runs
        for (_, shots, _), cells in by_spot(run.cells).items()
        if column in cells[0].columns
    ]
    tags = [tag for _, _, cells in found if (tag := _tag_of(cells[0], groups))]
    measured = [
        Line(name=run.name, shots=shots, entries=_grouped(cells, column, groups), measured=True)
        for run, shots, cells in found
    ]
    printed: dict[str, dict[str, Entry]] = {}
    for number in published.numbers():
        if number.stage == "leaderboard" and number.task == column:
            printed.setdefault(number.model, {})[number.metric] = number
    lines = [
        Line(name=model, shots=0, entries=entries, measured=False)
        for model, entries in printed.items()
    ]
    return Table(
        key=column.lower().replace(" ", "-"),
        title=f"{column} by {tags[0].replace('_', ' ') if tags else 'group'}",
        columns=("overall", *groups),
        lines=(*measured, *lines),
    )


def _tag_of(cell: Cell, groups: Iterable[str]) -> str | None:
    """The breakdown of a cell whose groups are these."""
    wanted = set(map(_letters, groups))
    for tag, values in cell.breakdown.items():
        if wanted & set(map(_letters, values)):
            return tag
    return None


def _grouped(cells: Sequence[Cell], column: str, groups: Sequence[str]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {"overall": figure(cells, cells[0].columns[column])}
    tag = _tag_of(cells[0], groups)
    for name in groups:
        values = [
            value
            for cell in cells
            for group, value in cell.breakdown.get(tag or "", {}).items()
            if _letters(group) == _letters(name)
        ]
        if values:
            entries[name] = Figure(
                value=fmean(values),
                interval=None,
                n=0,
                seeds=len(values),
                deviation=stdev(values) if len(values) > 1 else None,
                demo=any(map(is_demo, cells)),
            )
    return entries


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower().replace("&", "and"))


def _further(runs: Sequence[Run]) -> Table:
    columns: dict[str, None] = {}
    rows: dict[tuple[str, int], dict[str, Entry]] = {}
    known = {column for stage in published.STAGES for column in published.columns(stage)}
    known.update(published.further_columns())
    for run in runs:
        for (_, shots, _), cells in by_spot(run.cells).items():
            if not known & set(cells[0].columns):
                column = f"{cells[0].title} ({cells[0].headline})"
                columns[column] = None
                made = figure(cells, cells[0].headline, (), blind_of(run, cells[0]))
                rows.setdefault((run.name, shots), {})[column] = made
    return Table(
        key="further",
        title="Further benchmarks",
        columns=tuple(columns),
        lines=tuple(
            Line(name=name, shots=shots, entries=entries, measured=True)
            for (name, shots), entries in rows.items()
        ),
    )
