"""Two sets of cells, row by row: what became of every figure.

Refuses to know files, formats and exit codes.

A row is one task at one shot count; the seeds both runs have are averaged sample by sample first.
Rows are tested together: p-values are Holm's over the table, so that all of it errs in 5 % of
comparisons, not each row.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from infimm_eval import stats
from infimm_eval.compare.cells import Cell
from infimm_eval.compare.policy import TIERS, Policy, Tier
from infimm_eval.compare.pooled import Evidence, Pooled, pooled
from infimm_eval.compare.tolerances import Tolerance, Tolerances
from infimm_eval.errors import UsageError
from infimm_eval.registry import plain
from infimm_eval.texts import natural
from infimm_eval.types import Unit

Verdict: TypeAlias = Literal[
    "better", "same", "worse", "inconclusive", "incomparable", "missing", "added"
]
"""``better``, ``worse``: the difference is significant over the table.
``same``: it is not, and a drop worth seeing would most likely have been seen.
``inconclusive``: it is not, and too few samples to have seen such a drop.
``incomparable``: measured under different settings.  ``missing``, ``added``: one run lacks it."""

SIGNIFICANT = 0.05
WORTH_SEEING = Tolerance(0.02, relative=True)
"""The drop that ``same`` excludes where no drop is allowed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one run says: the mean over its seeds, with their deviation where there are several."""

    value: float | None
    deviation: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said to one question, at the first seed that both runs have."""

    question: str
    before: str | None
    """``None`` where that side keeps no texts: a baseline file."""
    after: str | None
    expected: str
    picture: bytes | None = field(default=None, repr=False)
    """The first of the question, WEBP, where a log keeps it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A unit whose score differs (averaged over seeds)."""

    id: str
    stratum: str
    before: float
    after: float
    said: Said | None = None
    """The texts behind it, where they were looked up (``saying``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one task at one number of shots."""

    task: str
    title: str
    shots: int
    headline: str
    seeds: tuple[int, ...]
    base: Figure | None
    new: Figure | None
    verdict: Verdict
    difference: stats.Difference | None = None
    p: float | None = None
    """Of any difference, two-sided, Holm's over the table."""
    allowed: float = 0.0
    """The drop that is tolerated, in the units of the headline."""
    p_drop: float | None = None
    """Of a drop beyond the allowed one, Holm's over the rows of its tier."""
    more: int | None = None
    """For ``inconclusive``: how many more samples would show a drop worth seeing ..."""
    worth_seeing: float = 0.0
    """... which is this large: the allowed drop, or 2 % of the base where none is allowed."""
    differing: tuple[str, ...] = ()
    """Settings that should agree and do not, with both values."""
    gaps: tuple[str, ...] = ()
    """Why the row cannot vouch for the new run."""
    control: str | None = None
    """What was done to the shots or the query, where the row is a control."""
    support: str | None = None
    """How its shots were selected, where it has any."""
    changes: tuple[Change, ...] = ()
    """The units whose score changed, the largest losses first."""
    tier: Tier = "critical"
    """Whether it stops a build alone, together with others, or not at all."""
    required: bool = False
    pair: tuple[Cell, Cell] | None = field(default=None, repr=False)
    """The cells of the first seed that was compared."""

    @property
    def regressed(self) -> bool:
        """Whether a drop beyond the allowed one is significant."""
        return self.p_drop is not None and self.p_drop <= SIGNIFICANT

    @property
    def name(self) -> str:
        """What a line about the row calls it."""
        return name_of(self.title, self.shots, self.support, self.control)

    @property
    def vouches(self) -> bool:
        """Whether a build may be stopped by it: not by an upper bound, which uses the answers."""
        return self.support != "oracle"


def name_of(title: str, shots: int, support: str | None, control: str | None = None) -> str:
    """What a line about a figure calls it."""
    chosen = _SELECTED.get(support or "", f"{support} shots")
    return ", ".join(part for part in (f"{title}, {shots}-shot", chosen, control) if part)


_SELECTED = {"": "", "random": "", "oracle": "oracle shots (upper bound, uses the answers)"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows of two runs."""

    base: str
    """The model's name."""
    new: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    pooled: Pooled | None = None
    """All critical and supporting rows together; its ``p`` is Holm's over the critical ones."""
    lacking: tuple[str, ...] = ()
    """What is required and in neither run."""


Key: TypeAlias = tuple[str, int, str, str]
"""Task, shots, control, support."""
Cells: TypeAlias = Mapping[int, Cell]
"""The cells of one row, by seed."""


def compare(
    base: Sequence[Cell],
    new: Sequence[Cell],
    tolerances: Tolerances | None = None,
    *,
    policy: Policy | None = None,
    force: bool = False,
    resamples: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare every cell of ``base`` with its counterpart in ``new``.

    ``force`` compares also what was measured under different settings, and says so.  Rows come in
    the base's order; what only ``new`` has follows as ``added``.  ``resamples`` is chosen so that
    p-values survive Holm's correction in a table of any length.  Raises ``UsageError`` where a
    side has no cell or those of several models.
    """
    tolerances, policy = tolerances or Tolerances(), policy or Policy()
    names = _only_model(base, "BASE"), _only_model(new, "NEW")
    bases, news = _by_row(base), _by_row(new)
    resamples = resamples or max(4000, 200 * len(bases))
    pairs = [(bases.get(old, {}), news.get(key, {})) for old, key in _counterparts(bases, news)]
    rows = [_in_policy(_row(*pair, tolerances, force, resamples, seed), policy) for pair in pairs]
    together = _together(rows, pairs, policy)
    judged, together = _judged(rows, together)
    known = {name for row in rows for name in (plain(row.task), f"{plain(row.task)}@{row.shots}")}
    notes = [
        f"the {what} of {name} applies to nothing here"
        for what, settings in (("tolerance", tolerances.tasks), ("tier", policy.tiers))
        for name in settings
        if name not in known
    ]
    lacking = tuple(name for name in policy.required if name not in known)
    return Comparison(*names, judged, tuple(notes), together, lacking)


def _only_model(cells: Sequence[Cell], side: str) -> str:
    models = list(dict.fromkeys(cell.model for cell in cells))
    if not models:
        raise UsageError(f"{side} has no finished cell; run it to the end first")
    if len(models) > 1:
        raise UsageError(f"{side} holds several models ({', '.join(models)}); give one of each")
    return models[0]


def _by_row(cells: Iterable[Cell]) -> dict[Key, dict[int, Cell]]:
    rows: dict[Key, dict[int, Cell]] = defaultdict(dict)
    for cell in cells:
        seeds = rows[cell.task, cell.shots, cell.control or "", cell.support or ""]
        if cell.seed in seeds:
            raise UsageError(f"{cell.task} at {cell.shots} shots, seed {cell.seed}, is there twice")
        seeds[cell.seed] = cell
    return dict(rows)


def _counterparts(bases: Mapping[Key, Any], news: Mapping[Key, Any]) -> Iterator[tuple[Key, Key]]:
    """The same task at the same shots; where each side has one row left of a task, these two."""
    ours, theirs = _lone(bases, news), _lone(news, bases)
    partner = {key: theirs[task] for task, key in ours.items() if task in theirs}
    for key in bases:
        yield key, partner.get(key, key)
    for key in news:
        if key not in bases and key not in partner.values():
            yield key, key


def _lone(keys: Iterable[Key], others: Mapping[Key, Any]) -> dict[str, Key]:
    """By task, the only row that the other side lacks."""
    lacking = [key for key in keys if key not in others]
    rows = Counter(task for task, *_ in lacking)
    return {key[0]: key for key in lacking if rows[key[0]] == 1}


# -- one row -------------------------------------------------------------------------------------


def _row(
    base: Cells, new: Cells, tolerances: Tolerances, force: bool, resamples: int, seed: int
) -> Row:
    seeds = tuple(sorted(set(base) & set(new)))
    either = next(iter((new or base).values()))
    row = Row(
        task=either.task,
        title=either.title,
        shots=either.shots,
        headline=either.headline,
        seeds=seeds or tuple(sorted(new or base)),
        control=either.control,
        support=either.support,
        base=_figure([base[s] for s in seeds or base]) if base else None,
        new=_figure([new[s] for s in seeds or new]) if new else None,
        verdict="same",
    )
    if not new:
        return replace(row, verdict="missing", gaps=("the new run lacks it",))
    if not base:
        return replace(row, verdict="added")
    gaps = list(dict.fromkeys(_gaps(base, new)))
    pairs = _pairs(base, new)
    differing = tuple(dict.fromkeys(d for pair in pairs for d in disagreements(*pair)))
    old, fresh = pairs[0]
    if (old.headline, old.scale) != (fresh.headline, fresh.scale):
        differing += (f"headline: {old.headline} x {old.scale:g} against {fresh.headline} x "
                      f"{fresh.scale:g}",)  # fmt: skip
    elif not differing or force:
        try:
            before = stats.averaged([b.units for b, _ in pairs])
            after = stats.averaged([n.units for _, n in pairs])
            difference = stats.paired(before, after, fresh.scale, resamples=resamples, seed=seed)
        except UsageError as error:
            return replace(row, verdict="incomparable", gaps=(str(error),), differing=differing)
        return replace(
            row,
            difference=difference,
            allowed=tolerances.of(row.task, row.shots).drop(_value(row.base)),
            differing=differing,
            gaps=tuple(gaps),
            changes=tuple(_changes(before, after)),
            pair=pairs[0],
        )
    gaps.append(f"measured under different settings: {'; '.join(differing)}")
    if any(setting.startswith("scorer") for setting in differing):
        gaps.append("`rescore RUN` scores an older run again with today's scorers")
    return replace(row, verdict="incomparable", differing=differing, gaps=tuple(gaps))


def _in_policy(row: Row, policy: Policy) -> Row:
    required = policy.requires(row.task, row.shots)
    gaps = row.gaps
    if required and row.verdict == "added":
        gaps = (*gaps, "it is required, and the base lacks it")
    return replace(row, tier=policy.of(row.task, row.shots), required=required, gaps=gaps)


def _together(
    rows: Sequence[Row], pairs: Sequence[tuple[Cells, Cells]], policy: Policy
) -> Pooled | None:
    """The pooled test, where it is asked for or a row has no other voice."""
    if not (policy.pooled or any(row.tier == "supporting" for row in rows)):
        return None
    evidence = []
    for row, pair in zip(rows, pairs, strict=True):
        if row.difference and row.vouches and row.tier != "advisory":
            base, new = zip(*_pairs(*pair), strict=True)
            before, after = (stats.averaged([cell.units for cell in side]) for side in (base, new))
            evidence.append(Evidence(before, after, new[0].scale, row.allowed))
    return pooled(evidence)


def _judged(rows: Sequence[Row], together: Pooled | None) -> tuple[tuple[Row, ...], Pooled | None]:
    """The verdicts, once all rows are known: significance is a matter of the whole table.

    Drops are tested in families, one for each tier, so that what stops nothing weakens nothing;
    the pooled test is one of the critical family, which alone stops builds.
    """
    tested = [(row, row.difference) for row in rows if row.difference]
    ps = iter(stats.holm([difference.p for _, difference in tested]))
    families: dict[Tier, list[float]] = {tier: [] for tier in TIERS}
    for row, difference in tested:
        families[row.tier].append(difference.beyond(row.allowed))
    if together:
        families["critical"].append(together.p)
    drops = {tier: iter(stats.holm(family)) for tier, family in families.items()}
    judged = tuple(
        _judge(row, row.difference, next(ps), next(drops[row.tier])) if row.difference else row
        for row in rows
    )
    return judged, together and replace(together, p=next(drops["critical"]))


def _judge(row: Row, difference: stats.Difference, p: float, p_drop: float) -> Row:
    row = replace(row, p=p, p_drop=p_drop)
    if p <= SIGNIFICANT:
        return replace(row, verdict="better" if difference.value > 0 else "worse")
    worth = row.allowed or WORTH_SEEING.drop(_value(row.base))
    growth = difference.growth(worth)
    if growth == 1.0 or not row.changes or not worth:
        return replace(row, verdict="same", worth_seeing=worth)
    samples = row.new.n if row.new else 0
    return replace(
        row, verdict="inconclusive", worth_seeing=worth, more=math.ceil((growth - 1) * samples)
    )


def _pairs(base: Cells, new: Cells) -> list[tuple[Cell, Cell]]:
    """By the seeds that both have; of runs without one in common, the first of each."""
    common = sorted(set(base) & set(new))
    return [(base[s], new[s]) for s in common] or [(_first(base), _first(new))]


def _first(cells: Cells) -> Cell:
    return cells[min(cells)]


def _value(figure: Figure | None) -> float:
    return figure.value if figure and figure.value is not None else 0.0


def _figure(cells: Sequence[Cell]) -> Figure:
    values = [cell.value for cell in cells if cell.value is not None]
    n = min(cell.n - cell.unscored for cell in cells)
    if len(values) < len(cells):
        return Figure(None, None, n)
    return Figure(*stats.over_seeds(values), n)


def _gaps(base: Cells, new: Cells) -> Iterator[str]:
    """What keeps the pairs from being all there is."""
    common = sorted(set(base) & set(new))
    if lacking := sorted(set(base) - set(new)):
        yield f"the new run lacks seed {', '.join(map(str, lacking))}"
    for side, cells in (("base", base), ("new run", new)):
        for cell in (cells[s] for s in common or cells):
            if cell.unscored:
                yield f"{cell.unscored} of {cell.n} samples are unscored in the {side}"
            elif not cell.finished:
                yield f"the {side} is not finished"
    for seed in common:
        ours, theirs = ({(u.stratum, u.id) for u in cells[seed].units} for cells in (base, new))
        if ours != theirs and not (base[seed].unscored or new[seed].unscored):
            yield (
                f"the runs scored different samples: {len(ours & theirs)} in both, "
                f"{len(ours - theirs)} in the base alone, {len(theirs - ours)} in the new run alone"
            )


def _changes(before: Sequence[Unit], after: Sequence[Unit]) -> list[Change]:
    old = {(u.stratum, u.id): u.value for u in before}
    changes = [
        Change(u.id, u.stratum, old[key], u.value)
        for u in after
        if (key := (u.stratum, u.id)) in old and not math.isclose(old[key], u.value, abs_tol=1e-9)
    ]
    return sorted(changes, key=lambda c: (c.after - c.before, natural(c.id), c.stratum))


# -- settings ------------------------------------------------------------------------------------


def disagreements(base: Cell, new: Cell) -> Iterator[str]:
    """Protocol settings by dotted name, where the two do not agree; models may differ."""
    ours, theirs = (dict(_flat(_protocol(cell))) for cell in (base, new))
    for name, usual in _SINCE.items():
        ours.setdefault(name, usual), theirs.setdefault(name, usual)
    if None in (ours.get("scorer.digest"), theirs.get("scorer.digest")):
        # Recorded before scorers had digests: name and version speak alone.
        ours.pop("scorer.digest", None), theirs.pop("scorer.digest", None)
    for name in dict.fromkeys([*ours, *theirs]):
        pair = ours.get(name, "nothing"), theirs.get(name, "nothing")
        if _same(*pair):
            continue
        yield f"{name}: {_brief(pair[0])} against {_brief(pair[1])}"
    if base.shots != new.shots and "shots" not in ours:
        yield f"shots: {base.shots} against {new.shots}"
    if base.seed != new.seed and "seed" not in ours:
        yield f"seed: {base.seed} against {new.seed}"


_SINCE = {"thinking": "removed", "prompt_format": "infimm"}
"""Settings that older runs did not record, with what they were."""


def _protocol(cell: Cell) -> Mapping[str, Any]:
    protocol: Mapping[str, Any] = cell.settings.get("protocol", {})
    return protocol


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _same(one: Any, other: Any) -> bool:
    """Equal once written down: a baseline file returns tuples as lists."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _brief(value: Any, longest: int = 40) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
