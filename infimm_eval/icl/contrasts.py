"""Contrasts: what a cell loses when one thing about its prompts is changed, with an interval.

Every contrast is a paired difference over the samples whose prompts kept the same shots.  Knows
cells and statistics; says nothing about what a contrast means for a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from infimm_eval import stats
from infimm_eval.errors import UsageError
from infimm_eval.icl.evidence import Evidence, Spot
from infimm_eval.logs import Cell
from infimm_eval.shots.controls import BLIND, FOREIGN, TEXT_QUERY

TITLES: Mapping[str, str] = {
    "picture_content": "picture content",
    "picture_tokens": "picture tokens",
    "pairing": "pairing",
    "pairing_other": "pairing, other pictures",
    "label_format": "label, format",
    "label_truth": "label, truth",
    "order": "order",
    "blind": "query picture (blind)",
    "multimodal_gain": "multi-modal gain",
    "shots": "shots",
    "transfer": "transfer",
}
"""In words, in the order in which they are shown."""

_PLAIN = ""
_CHANGES: Mapping[str, tuple[str, str]] = {
    "picture_content": (_PLAIN, "pictures=blank"),
    "picture_tokens": ("pictures=blank", "pictures=none"),
    "pairing": (_PLAIN, "pictures=swapped"),
    "pairing_other": (_PLAIN, "pictures=other"),
    "label_format": (_PLAIN, "answers=shuffled"),
    "label_truth": (_PLAIN, "answers=other"),
    "order": (_PLAIN, "order=reversed"),
    "blind": (_PLAIN, BLIND),
    "multimodal_gain": (_PLAIN, TEXT_QUERY),
}
"""By contrast: from which control's cell which other's is subtracted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One difference, in the units of the headline: ``minuend`` minus ``control``."""

    name: str
    """A key of ``TITLES``."""
    control: str
    """What is subtracted: a control, or a number of shots."""
    minuend: str = "plain"
    value: float
    ci95: tuple[float, float]
    p: float
    p_holm: float
    """After Holm's correction over the contrasts of the cell."""
    n: int
    changed: float | None
    """Of a hundred answers, how many changed; ``None``: no answer on both sides."""
    changed_prompts: float | None
    """Of a hundred prompts, in how many the control changed anything; ``None`` of 0 shots."""
    left_out: int
    """Samples whose prompts lost different shots to the model's context, over all seeds."""
    seeds: Mapping[int, float]
    """The difference in each."""

    @property
    def title(self) -> str:
        """In words."""
        return TITLES[self.name]

    @property
    def positive(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.ci95[0] > 0


def contrasts(spot: Spot) -> list[Contrast]:
    """Every contrast that the cells of a spot allow, corrected for their number."""
    cells: dict[str, Mapping[int, Evidence]] = {_PLAIN: spot.plain, **spot.controls}
    wanted = [(name, new, base) for name, (new, base) in _CHANGES.items()]
    swapped = spot.controls.get("pictures=swapped", {}).values()
    if spot.first.shots == 1 and not any(new.cell.n_changed for new in swapped):
        # One shot's pictures have nothing to change places with; one a class have.
        wanted = [w for w in wanted if w[0] not in ("pairing", "pairing_other")]
        wanted.append(("pairing", _PLAIN, "pictures=other"))
    wanted += [("transfer", _PLAIN, name) for name in spot.controls if name.startswith(FOREIGN)]
    made = [
        made
        for name, new, base in wanted
        if new in cells and base in cells
        if (made := _contrast(name, new, base, cells[new], cells[base])) is not None
    ]
    if spot.bare and (made_too := _contrast("shots", _PLAIN, "0 shots", spot.plain, spot.bare)):
        made.append(replace(made_too, control=zero_shot(spot), changed_prompts=None))
    order = list(TITLES)
    made.sort(key=lambda contrast: order.index(contrast.name))
    corrected = stats.holm([contrast.p for contrast in made])
    return [replace(c, p_holm=p) for c, p in zip(made, corrected, strict=True)]


def zero_shot(spot: Spot) -> str:
    """What ``0 shots`` means: how many examples were shown as text."""
    cell = next(iter(spot.bare.values())).cell
    shown = cell.settings.get("protocol", {}).get("zero_shot_demos") or 0
    return f"0 shots ({shown} as text)" if shown else "0 shots"


def difference(
    news: Sequence[Evidence], bases: Sequence[Evidence], left_out: Sequence[set[str]] = ()
) -> stats.Difference | None:
    """New minus base over the seeds' mean scores; ``None`` where they share no scored sample."""
    lost = list(left_out) or [set() for _ in news]
    sides = [
        stats.averaged([[u for u in ev.units if u.id not in out] for ev, out in pairs])
        for pairs in (list(zip(bases, lost, strict=True)), list(zip(news, lost, strict=True)))
    ]
    try:
        return stats.paired(sides[0], sides[1], news[0].cell.scale)
    except UsageError:
        return None


def _contrast(
    name: str,
    minuend: str,
    control: str,
    news: Mapping[int, Evidence],
    bases: Mapping[int, Evidence],
) -> Contrast | None:
    seeds = sorted(news.keys() & bases.keys())
    if not seeds:
        return None
    pairs = [(news[seed], bases[seed]) for seed in seeds]
    same_draw = not control.startswith((FOREIGN, "0 shots"))
    lost = [_other_shots(new, base) if same_draw else set() for new, base in pairs]
    found = difference([new for new, _ in pairs], [base for _, base in pairs], lost)
    if found is None:
        return None
    each: list[stats.Difference | None] = [found]
    if len(seeds) > 1:
        each = [difference([n], [b], [out]) for (n, b), out in zip(pairs, lost, strict=True)]
    flips = [f for (n, b), out in zip(pairs, lost, strict=True) for f in _flips(n, b, out)]
    for new, base in pairs:
        base.forget()
        if minuend:
            new.forget()
    return Contrast(
        name=name,
        control=control,
        minuend=minuend or "plain",
        value=found.value,
        ci95=found.interval,
        p=found.p,
        p_holm=found.p,
        n=found.n,
        changed=100 * fmean(flips) if flips else None,
        changed_prompts=_touched([base.cell for _, base in pairs]),
        left_out=sum(map(len, lost)),
        seeds={seed: d.value for seed, d in zip(seeds, each, strict=True) if d is not None},
    )


def _other_shots(new: Evidence, base: Evidence) -> set[str]:
    """Samples whose two prompts do not hold the same shots, in whatever order."""
    pairs = ((id, seen, new.seen.get(id)) for id, seen in base.seen.items())
    return {id for id, a, b in pairs if b is None or sorted(a.shots) != sorted(b.shots)}


def _flips(new: Evidence, base: Evidence, left_out: set[str]) -> list[bool]:
    """For each sample that both answered, whether the answer is another."""
    pairs = (
        (seen.read, base.seen[id].read)
        for id, seen in new.seen.items()
        if id in base.seen and id not in left_out
    )
    return [a != b for a, b in pairs if a is not None and b is not None]


def _touched(cells: Sequence[Cell]) -> float | None:
    """Of a hundred prompts, how many the control changed; ``None`` of cells without one."""
    if any(cell.n_changed is None for cell in cells) or not sum(cell.n for cell in cells):
        return None
    changed = sum(cell.n_changed or 0 for cell in cells)
    return 100 * changed / sum(cell.n for cell in cells)
