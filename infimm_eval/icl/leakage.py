"""Multi-modal leakage: what a model scores without pictures beyond what its language model scores.

As MMStar defines it: ML = max(0, S_wv - S_t), where S_wv is the score without visual input and S_t
that of the language model before it was trained on pictures (Chen et al. 2024, "Are We on the Right
Way for Evaluating Large Vision-Language Models?", arXiv 2403.20330).  Knows evidence; opens no log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from infimm_eval.errors import UsageError
from infimm_eval.icl.contrasts import difference
from infimm_eval.icl.evidence import Evidence, Spot
from infimm_eval.shots.controls import TEXT_QUERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """Of one spot, in the units of the headline."""

    value: float
    """``max(0, difference)``."""
    difference: float
    """S_wv - S_t over the samples that both scored, paired, mean over seeds."""
    ci95: tuple[float, float]
    """Of the difference."""
    n: int
    without_pictures: float
    """S_wv, of all samples of the cell ``query=none``."""
    language_model: str
    bare: float
    """S_t, of all samples that the language model was asked."""


def leakage(spot: Spot, bare: Spot) -> Leakage | None:
    """``bare``: the same spot of the language model, whose ``query=none`` is taken where it has
    one.  ``None`` where no seed or sample was asked of both."""
    without = spot.controls.get(TEXT_QUERY, {})
    alone = bare.controls.get(TEXT_QUERY) or bare.plain
    seeds = sorted(without.keys() & alone.keys())
    ours, theirs = [without[seed] for seed in seeds], [alone[seed] for seed in seeds]
    found = difference(ours, theirs) if seeds else None
    if found is None:
        return None
    return Leakage(
        value=max(0.0, found.value),
        difference=found.value,
        ci95=found.interval,
        n=found.n,
        without_pictures=_score(ours),
        language_model=bare.first.model,
        bare=_score(theirs),
    )


def _score(cells: Sequence[Evidence]) -> float:
    return fmean(ev.cell.value for ev in cells if ev.cell.value is not None)


def partners(spots: Sequence[Spot], bare: Sequence[Spot]) -> Mapping[int, Spot]:
    """By the place of a spot with ``query=none`` among ``spots`` the language model's.

    ``UsageError`` where nothing can be compared.
    """
    by_where = {_where(spot): spot for spot in bare}
    asked = [at for at, spot in enumerate(spots) if TEXT_QUERY in spot.controls]
    if not asked:
        raise UsageError(
            f"leakage compares scores without pictures: run it with --controls {TEXT_QUERY}"
        )
    found = {at: by_where[where] for at in asked if (where := _where(spots[at])) in by_where}
    if not found:
        wanted, has = (", ".join(map(_said, some)) for some in ([spots[a] for a in asked], bare))
        raise UsageError(f"the language model was asked {has or 'nothing'}, and not {wanted}")
    return found


def _where(spot: Spot) -> tuple[str, int, str]:
    return spot.first.task, spot.first.shots, spot.first.support or ""


def _said(spot: Spot) -> str:
    task, shots, support = _where(spot)
    return f"{task} at {shots} shots" + (f" ({support})" if support else "")
