"""The diagnosis of a run: for each spot its contrasts, rates and verdict; its curves.

Puts together what the other modules of this room find out; decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from infimm_eval import logs
from infimm_eval.errors import UsageError
from infimm_eval.icl.contrasts import Contrast, contrasts
from infimm_eval.icl.copying import Rate, majority_baseline, rates
from infimm_eval.icl.curve import Curve, curves
from infimm_eval.icl.evidence import Evidence, Spot, spots
from infimm_eval.icl.leakage import Leakage, leakage, partners
from infimm_eval.icl.verdict import verdict
from infimm_eval.types import Task

_PERMUTED = "order=permuted:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One cell of a spot, over its seeds."""

    control: str
    """"" of the plain one."""
    value: float | None
    ci95: tuple[float, float] | None
    n: int
    n_changed: int | None
    """Prompts that the control changed, over all seeds."""
    picture_tokens: Mapping[str, int | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the shots of one cell taught, over its seeds."""

    task: str
    title: str
    model: str
    shots: int
    support: str
    headline: str
    seeds: tuple[int, ...]
    figures: tuple[Figure, ...]
    """The plain cell first, then its controls."""
    contrasts: tuple[Contrast, ...]
    rates: Mapping[str, Rate]
    majority_baseline: Rate | None
    """The headline of a vote over the shots' answers, without a model."""
    order_spread: float | None
    """Standard deviation over random orders (``order=permuted:N``), mean over seeds."""
    leakage: Leakage | None
    """``None`` where no run of the bare language model was named, or none of its samples shared."""
    verdict: str
    sentence: str
    notes: tuple[str, ...] = ()
    """What is missing, and what makes cells unequal."""

    def __getitem__(self, name: str) -> Contrast:
        """A contrast by name; ``KeyError`` where it was not measured."""
        for contrast in self.contrasts:
            if contrast.name == name:
                return contrast
        raise KeyError(name)

    @property
    def plain(self) -> Figure:
        """The cell without a control."""
        return self.figures[0]

    @property
    def blind(self) -> Figure | None:
        """The cell with a blank query picture."""
        return next((f for f in self.figures if f.control == "query=blank"), None)


def read(
    folders: Mapping[Path, Sequence[logs.Cell]],
    tasks: Iterable[Task] = (),
    *,
    language_model: Path | None = None,
) -> tuple[list[Diagnosis], list[Curve]]:
    """Of one model's cells in one folder or several: a diagnosis of every spot that has a control,
    and the curves.

    With a run of its bare ``language_model`` also the leakage of what both were asked;
    ``UsageError`` where that is nothing.
    """
    tasks = list(tasks)
    with ExitStack() as opened:
        found = _spots(folders, tasks, opened)
        bare: Mapping[int, Spot] = {}
        if language_model is not None:
            cells = logs.read(language_model)
            if len(models := {cell.model for cell in cells}) > 1:
                raise UsageError(
                    f"{language_model} holds {len(models)} models: {', '.join(sorted(models))}; "
                    "leakage is compared with one"
                )
            bare = partners(found, _spots({language_model: cells}, tasks, opened))
        made = [_diagnosis(spot, bare.get(at)) for at, spot in enumerate(found) if spot.controls]
        return made, curves(found)


def _spots(
    folders: Mapping[Path, Sequence[logs.Cell]], tasks: Iterable[Task], opened: ExitStack
) -> list[Spot]:
    logs_of = {folder: opened.enter_context(logs.Log(folder)) for folder in folders}
    of = {cell.key.name: logs_of[folder] for folder, there in folders.items() for cell in there}
    return spots([cell for there in folders.values() for cell in there], of, tasks)


def in_context(
    folder: Path, cells: Sequence[logs.Cell], tasks: Iterable[Task] = ()
) -> dict[str, Any]:
    """As ``results.json`` has it, under ``in_context``: ``{"diagnoses": [...], "curves": [...]}``;
    of several models in a folder, model by model."""
    found: dict[str, list[dict[str, Any]]] = {"diagnoses": [], "curves": []}
    for model in dict.fromkeys(cell.model for cell in cells):
        diagnosed, drawn = read({folder: [c for c in cells if c.model == model]}, tasks)
        found["diagnoses"] += map(asdict, diagnosed)
        found["curves"] += map(asdict, drawn)
    return found


def _diagnosis(spot: Spot, bare: Spot | None) -> Diagnosis:
    first = spot.first
    measured, copied = contrasts(spot), rates(spot) if spot.first.shots else {}
    said = verdict(measured, copied, first.shots, wordless=spot.wordless)
    leaked, notes = None if bare is None else leakage(spot, bare), _notes(spot, copied)
    if bare is not None and leaked is None:
        notes.append(
            f"no sample was asked of {bare.first.model} too, with the same seed: no leakage"
        )
    return Diagnosis(
        task=first.task,
        title=first.title,
        model=first.model,
        shots=first.shots,
        support=first.support or "",
        headline=first.headline,
        seeds=tuple(sorted(spot.plain)),
        figures=tuple(_figures(spot)),
        contrasts=tuple(measured),
        rates=copied,
        majority_baseline=majority_baseline(spot) if copied else None,
        order_spread=_order_spread(spot),
        leakage=leaked,
        verdict=said.claim,
        sentence=said.sentence,
        notes=tuple(notes),
    )


def _figures(spot: Spot) -> list[Figure]:
    return [_figure("", spot.plain), *(_figure(name, ev) for name, ev in spot.controls.items())]


def _figure(control: str, seeds: Mapping[int, Evidence]) -> Figure:
    cells = [evidence.cell for evidence in seeds.values()]
    values = [cell.value for cell in cells if cell.value is not None]
    bounds = [cell.ci95 for cell in cells if cell.ci95 is not None]
    return Figure(
        control=control,
        value=fmean(values) if values else None,
        ci95=(fmean(b[0] for b in bounds), fmean(b[1] for b in bounds)) if bounds else None,
        n=max(cell.n for cell in cells),
        n_changed=sum(cell.n_changed or 0 for cell in cells) if control else None,
        picture_tokens=cells[0].picture_tokens,
    )


def _order_spread(spot: Spot) -> float | None:
    by_seed: dict[int, list[float]] = {}
    for name, seeds in spot.controls.items():
        if name.startswith(_PERMUTED):
            for seed, evidence in seeds.items():
                if evidence.cell.value is not None:
                    by_seed.setdefault(seed, []).append(evidence.cell.value)
    spreads = [stdev(values) for values in by_seed.values() if len(values) > 1]
    return fmean(spreads) if spreads else None


def _notes(spot: Spot, copied: Mapping[str, Rate]) -> list[str]:
    notes = []
    if spot.first.shots and not copied:
        notes.append(
            "the log does not hold the answers that the shots show (an earlier version wrote it), "
            "so that nothing is said of copies, the last shot and the majority; the run's command "
            "again keeps them"
        )
    if "pictures=none" in spot.controls and "pictures=blank" not in spot.controls:
        notes.append(
            "pictures=none alone misleads, since the marks of pictures go with them: run "
            "pictures=blank too"
        )
    if spot.task is None:
        notes.append(
            f"the benchmark {spot.first.task} is not known here: answers are compared as they "
            "stand, and no majority baseline is scored"
        )
    return [*notes, *_unequal(spot)]


def _unequal(spot: Spot) -> list[str]:
    """Cells in which the model sees a picture in another number of tokens than in the plain one."""
    own = spot.first.picture_tokens
    cells = {name: next(iter(seeds.values())).cell for name, seeds in spot.controls.items()}
    if spot.bare:
        cells["0 shots"] = next(iter(spot.bare.values())).cell
    notes = []
    for name, cell in cells.items():
        for which in ("query", "shot"):
            ours, theirs = (own or {}).get(which), (cell.picture_tokens or {}).get(which)
            if ours and theirs and ours != theirs:
                notes.append(
                    f"{name} shows the model a picture of the {which} in {theirs} tokens, the "
                    f"plain cell in {ours}: their difference is not of the control alone"
                )
    return notes
