"""Answers beside the answers that the shots show: copies, the last shot, the majority.

Works on plain cells (and the reversed one, for the last shot); every rate stands beside what
chance, or no model at all, would give.  Knows answers as scorers read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

from infimm_eval import scorers, stats
from infimm_eval.icl.evidence import Evidence, Seen, Spot, fitting
from infimm_eval.types import Answer, CorpusFunction, Outcome, Record, Rubric, Scorer, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of a hundred, or a difference of two (``recency``)."""

    value: float
    ci95: tuple[float, float] | None
    n: int
    chance: float | None = None
    """The same against the shots of another query."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One answer and the answers that its shots show, in prompt order."""

    id: str
    seen: Seen
    answer: str
    shown: tuple[str, ...]
    others: tuple[str, ...]
    """Those that another query's shots show."""


def rates(spot: Spot) -> dict[str, Rate]:
    """``copy``, ``wrong_copies`` (of all answers), ``wrong_copies_of_wrong``, ``recency``,
    ``majority`` (agreement where there is one) and ``place_1``, ...; none without the shots'
    answers."""
    cases = [case for seed, plain in spot.plain.items() for case in _cases(plain, seed)]
    if not cases:
        return {}
    wrong = [case for case in cases if case.seen.value == 0]
    voted = [(case, top) for case in cases if (top := majority(case.shown))]
    by_chance = [case.answer == top for case in cases if (top := majority(case.others))]
    copies = [(case, case.answer in case.shown) for case in cases]
    found = {
        "copy": _rate(copies, [case.answer in case.others for case in cases]),
        "wrong_copies": _rate([(c, hit and c.seen.value == 0) for c, hit in copies]),
        "wrong_copies_of_wrong": _rate([(case, case.answer in case.shown) for case in wrong]),
        "recency": _rate(list(_recency(spot, cases))),
        "majority": _rate([(case, case.answer == top) for case, top in voted], by_chance),
    }
    for place in range(max(len(case.shown) for case in cases)):
        there = [case for case in cases if len(case.shown) > place]
        found[f"place_{place + 1}"] = _rate([(c, c.answer == c.shown[place]) for c in there])
    return {name: rate for name, rate in found.items() if rate is not None}


def majority(shown: Sequence[str]) -> str | None:
    """The single most frequent; ``None`` where two are equally frequent."""
    ranked = Counter(shown).most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def majority_baseline(spot: Spot) -> Rate | None:
    """The headline without any model: the answer that most shots show, of equals the one shown
    last, scored as answers are.  ``None`` where that takes more than one answer at a time."""
    task = spot.task
    made: list[Unit] = []
    values = []
    for plain in spot.plain.values():
        scorer = plain.scorer
        if task is None or scorer is None or isinstance(scorer.function, CorpusFunction | Rubric):
            return None
        outcomes = list(_outcomes(plain, scorer))
        summary = task.metrics(outcomes, {}) if outcomes else None
        if summary is None or (value := summary.metrics.get(task.headline)) is None:
            return None
        values.append(value)
        made += summary.units
    bounds = stats.interval(made, spot.first.scale) if len(values) == 1 else None
    return Rate(value=fmean(values), ci95=bounds, n=len(made))


def _outcomes(plain: Evidence, scorer: Scorer) -> Iterator[Outcome]:
    read, score = scorers.reads_target(scorer), scorers.score_one(scorer)
    for entry in plain.entries():
        sample = entry.sample
        shots = [plain.targets[shot] for shot in fitting(entry) if shot in plain.targets]
        if not shots:
            continue
        votes = Counter(map(read, shots))
        most = max(votes.values())
        said = next(s.target for s in reversed(shots) if votes[read(s)] == most)
        made = score(Record(sample, Answer(sample.id, said), said))
        yield Outcome(sample.id, sample.group or sample.id, sample.tags, made)


def _cases(plain: Evidence, seed: int) -> Iterator[_Case]:
    """Answered samples whose shots' answers are known; partners stand next in a random circle."""
    read = scorers.reads_target(plain.scorer)
    said = {id: read(shot) for id, shot in plain.targets.items()}
    known = {
        id: seen
        for id, seen in plain.seen.items()
        if seen.read is not None and seen.shots and all(shot in said for shot in seen.shots)
    }
    circle = list(known)
    Random(f"{seed}/{plain.cell.task}/partner").shuffle(circle)
    for at, id in enumerate(circle):
        seen = known[id]
        after = (known[circle[(at + step) % len(circle)]] for step in range(1, len(circle)))
        partner = next((other for other in after if other.group != seen.group), None)
        yield _Case(
            id=f"{seed}/{id}",
            seen=seen,
            answer=seen.read or "",
            shown=tuple(said[shot] for shot in seen.shots),
            others=tuple(said[shot] for shot in partner.shots) if partner else (),
        )


def _recency(spot: Spot, cases: Iterable[_Case]) -> Iterator[tuple[_Case, float]]:
    """[answer = last] minus [answer = first] where these differ; with the reversed cell the mean
    of both orders, which takes the draw out of it."""
    turned: Mapping[str, Seen] = {
        f"{seed}/{id}": seen
        for seed, evidence in spot.controls.get("order=reversed", {}).items()
        for id, seen in evidence.seen.items()
    }
    for case in cases:
        first, last = case.shown[0], case.shown[-1]
        if first == last:
            continue
        forward = (case.answer == last) - (case.answer == first)
        back = turned.get(case.id)
        if turned and (back is None or back.read is None or back.shots != case.seen.shots[::-1]):
            continue
        other = (back.read == first) - (back.read == last) if back else forward
        yield case, (forward + other) / 2


def _rate(hits: Sequence[tuple[_Case, float]], chance: Sequence[bool] = ()) -> Rate | None:
    if not hits:
        return None
    units = [Unit(case.id, case.seen.group, float(hit)) for case, hit in hits]
    return Rate(
        value=100 * fmean(unit.value for unit in units),
        ci95=stats.interval(units),
        n=len(units),
        chance=100 * fmean(chance) if chance else None,
    )
