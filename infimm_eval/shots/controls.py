"""Controls (ablations): what a prompt shows is changed, to see what its shots teach.

Each is a pure function from what would be shown to what is shown instead; the draw stays the same.
Knows samples; knows neither how they are rendered nor who is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from string import ascii_uppercase
from typing import TypeAlias

from infimm_eval.errors import UsageError, unknown
from infimm_eval.shots.blanks import blank
from infimm_eval.shots.selection import Shots
from infimm_eval.types import Content, Image, Sample

TRIES = 100
"""Random permutations that are tried for one that leaves nothing where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a prompt shows."""

    shots: tuple[Sample, ...]
    """In prompt order.  One that was changed has an id that says how: ``17|pictures=42``."""
    query: Sample
    text_only: bool = False
    """Whether the shots are shown without their pictures."""
    drawn: tuple[str, ...] = ()
    """Ids of the shots as they were drawn, in prompt order."""
    changed: int = 0
    """How many shots (or the query) are otherwise than without the control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What a control draws with and from."""

    key: str
    """``seed/task/query id/control``: a draw depends on these alone; one that is a shot's own also
    on its id, and so neither on its place nor on the number of shots."""
    pool: Sequence[Sample] = ()
    """What the shots were drawn from."""
    read: Callable[[Sample], str] = lambda sample: sample.target.strip().casefold()
    """A sample's target as the benchmark's scorer reads it: equal ones are the same answer."""

    def own(self, shot: Sample) -> Random:
        """The random numbers of one shot."""
        return Random(f"{self.key}/{shot.id}")


Control: TypeAlias = Callable[[Shown, Chance], Shown]


def shown(shots: Iterable[Sample], query: Sample, *, text_only: bool = False) -> Shown:
    """What a prompt shows without a control."""
    shots = tuple(shots)
    drawn = tuple(shot.id for shot in shots)
    return Shown(shots=shots, query=query, text_only=text_only, drawn=drawn)


# -- the shots' pictures ---------------------------------------------------------------------------


def pictures_none(before: Shown, _: Chance) -> Shown:
    """The shots as text alone."""
    return replace(before, text_only=True, changed=sum(1 for s in before.shots if slots(s)))


def pictures_blank(before: Shown, _: Chance) -> Shown:
    """In every place of a picture a blank one of its size."""
    made = [_blanked(shot) if slots(shot) else shot for shot in before.shots]
    return _with_shots(before, made)


def pictures_swapped(before: Shown, chance: Chance) -> Shown:
    """Pictures change places among shots that have equally many."""
    held = [slots(shot) for shot in before.shots]
    keys = [tuple(image.key for image in pictures) for pictures in held]
    sources = deranged(keys, [len(pictures) or None for pictures in held], Random(chance.key))
    return _with_shots(
        before,
        [
            _with_slots(shot, held[at], f"pictures={before.shots[at].id}")
            if keys[place] != keys[at]
            else shot
            for place, (shot, at) in enumerate(zip(before.shots, sources, strict=True))
        ],
    )


def pictures_other(before: Shown, chance: Chance) -> Shown:
    """Each shot with the pictures of a random row of the pool."""
    own = {image.key for image in slots(before.query)}

    def other(shot: Sample) -> Sample:
        held = slots(shot)
        if not held:
            return shot
        taken = own | {image.key for image in held}
        for row in _drawn(chance.pool, chance.own(shot)):
            if _related(row, shot) or _related(row, before.query):
                continue
            given = slots(row)
            if len(given) == len(held) and taken.isdisjoint(image.key for image in given):
                return _with_slots(shot, given, f"pictures={row.id}")
        return shot

    return _with_shots(before, map(other, before.shots))


# -- the shots' answers ----------------------------------------------------------------------------


def answers_shuffled(before: Shown, chance: Chance) -> Shown:
    """Answers change places; lettered ones among shots with equally many options."""
    read = [chance.read(shot) for shot in before.shots]
    sources = deranged(read, [len(shot.options) for shot in before.shots], Random(chance.key))
    return _with_shots(
        before,
        [
            _answered_as(shot, before.shots[at]) if read[place] != read[at] else shot
            for place, (shot, at) in enumerate(zip(before.shots, sources, strict=True))
        ],
    )


def answers_other(before: Shown, chance: Chance) -> Shown:
    """Each shot with another answer of the same type: that of a random row of the pool, or, where
    it is lettered, another of its own letters."""

    def other(shot: Sample) -> Sample:
        letters = ascii_uppercase[: len(shot.options)]
        if shot.target and shot.target in letters:
            others = [letter for letter in letters if letter != shot.target]
            return _answered(shot, chance.own(shot).choice(others)) if others else shot
        read, kind = chance.read(shot), _type(shot)
        for row in _drawn(chance.pool, chance.own(shot)):
            if _type(row) == kind and not _related(row, before.query) and chance.read(row) != read:
                return _answered_as(shot, row)
        return shot

    return _with_shots(before, map(other, before.shots))


# -- their order, and the query --------------------------------------------------------------------


def order_reversed(before: Shown, _: Chance) -> Shown:
    """The last shot first."""
    return _reordered(before, range(len(before.shots))[::-1])


def order_permuted(before: Shown, chance: Chance) -> Shown:
    """The shots in a random order."""
    places = list(range(len(before.shots)))
    Random(chance.key).shuffle(places)
    return _reordered(before, places)


def query_blank(before: Shown, _: Chance) -> Shown:
    """The query with blank pictures, the shots as they are: the blind baseline."""
    if not slots(before.query):
        return before
    return replace(before, query=_blanked(before.query), changed=1)


def query_none(before: Shown, _: Chance) -> Shown:
    """The query as text alone, the shots as they are: MMStar's score without visual input (Chen et
    al. 2024)."""
    if not slots(before.query):
        return before
    return replace(before, query=_without_slots(before.query), changed=1)


def foreign_shots(shots: Shots, query: Sample, task: str, count: int) -> list[Sample]:
    """``count`` shots of another benchmark for a query of ``task``, none with the query's picture.

    ``UsageError`` where there are not so many.
    """
    stranger = Sample(id=f"{task}/{query.id}")
    own = {image.key for image in slots(query)}
    wanted = count
    while True:
        drawn = shots.pick(stranger, wanted)
        picked = [shot for shot in drawn if own.isdisjoint(image.key for image in slots(shot))]
        if len(picked) >= count:
            return picked[:count]
        wanted += count - len(picked)


# -- their names -----------------------------------------------------------------------------------

BLIND = "query=blank"
TEXT_QUERY = "query=none"
FOREIGN = "support=foreign:"
_PERMUTED = "order=permuted:"

CONTROLS: Mapping[str, Control] = {
    "pictures=none": pictures_none,
    "pictures=swapped": pictures_swapped,
    "answers=shuffled": answers_shuffled,
    "answers=other": answers_other,
    "order=reversed": order_reversed,
    "pictures=blank": pictures_blank,
    BLIND: query_blank,
    "pictures=other": pictures_other,
}
"""By name, those that ``all`` stands for, but for ``order=permuted:N``; those that show no new
picture first, right behind the plain cell whose features they share."""

_ORDERS = tuple(f"{_PERMUTED}{n}" for n in (1, 2, 3))
ALL = (*list(CONTROLS)[:5], *_ORDERS, *list(CONTROLS)[5:])
"""What ``all`` stands for: everything that needs no other benchmark and no other model."""


def named(names: Iterable[str]) -> tuple[str, ...]:
    """The controls that a person asks for, each once: ``all`` and ``blind`` stand for what they
    mean.  ``UsageError`` for a name that is none."""
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys(ALL if name == "all" else [_known(name)])
    return tuple(found)


def _known(name: str) -> str:
    if name == "blind":
        return BLIND
    permuted = re.fullmatch(f"{_PERMUTED}([0-9]+)", name)
    if permuted:
        return f"{_PERMUTED}{int(permuted[1])}"
    if name in CONTROLS or name == TEXT_QUERY or foreign_task(name):
        return name
    usual = (*CONTROLS, TEXT_QUERY, f"{_PERMUTED}N", f"{FOREIGN}TASK", "blind", "all")
    raise unknown("control", name, usual)


def foreign_task(name: str) -> str:
    """The benchmark that a control takes its shots from; "" where it takes them from none."""
    return name.removeprefix(FOREIGN) if name.startswith(FOREIGN) else ""


def function(name: str) -> Control:
    """The control of a name that ``named`` gave; ``UsageError`` for ``support=foreign``, which
    takes another benchmark's pool (``foreign_shots``)."""
    if name.startswith(_PERMUTED):
        return order_permuted
    if name == TEXT_QUERY:
        return query_none
    if name not in CONTROLS:
        raise UsageError(f"{name} takes shots of another benchmark")
    return CONTROLS[name]


def at_shots(names: Sequence[str], shots: int) -> list[str]:
    """Those that apply at so many shots: without shots the query alone can be changed."""
    return [name for name in names if shots or name in (BLIND, TEXT_QUERY)]


# -- samples with something in another's place -----------------------------------------------------


def slots(sample: Sample) -> tuple[Image, ...]:
    """Every picture in reading order: before the question, inside it, inside the options."""
    parts = (*sample.images, *sample.question, *(p for o in sample.options for p in o))
    return tuple(part for part in parts if isinstance(part, Image))


def deranged(
    values: Sequence[Hashable], classes: Sequence[Hashable | None], rng: Random
) -> list[int]:
    """For each place, from which place it takes its value: a permutation within each class that
    leaves no place with an equal value, or, of ``TRIES``, the first that changes most.  Places of
    class ``None`` stay."""
    members: dict[Hashable, list[int]] = {}
    for place, kind in enumerate(classes):
        if kind is not None:
            members.setdefault(kind, []).append(place)
    movable = sum(map(len, members.values()))
    best, most = list(range(len(values))), 0
    for _ in range(TRIES):
        sources = list(range(len(values)))
        for places in members.values():
            taken = list(places)
            rng.shuffle(taken)
            for place, source in zip(places, taken, strict=True):
                sources[place] = source
        changed = sum(values[place] != values[at] for place, at in enumerate(sources))
        if changed > most:
            best, most = sources, changed
        if most == movable:
            break
    return best


def _with_shots(before: Shown, made: Iterable[Sample]) -> Shown:
    shots = tuple(made)
    pairs = zip(before.shots, shots, strict=True)
    return replace(before, shots=shots, changed=sum(old is not new for old, new in pairs))


def _reordered(before: Shown, places: Sequence[int]) -> Shown:
    return replace(
        before,
        shots=tuple(before.shots[place] for place in places),
        drawn=tuple(before.drawn[place] for place in places),
        changed=sum(place != at for place, at in enumerate(places)),
    )


def _blanked(sample: Sample) -> Sample:
    return _with_slots(sample, tuple(map(blank, slots(sample))), "pictures=blank")


def _with_slots(sample: Sample, pictures: Sequence[Image], how: str) -> Sample:
    """The sample with other pictures in its slots."""
    left = iter(pictures)

    def filled(content: Content) -> Content:
        return tuple(next(left) if isinstance(part, Image) else part for part in content)

    return replace(
        sample,
        id=f"{sample.id}|{how}",
        images=tuple(next(left) for _ in sample.images),
        question=filled(sample.question),
        options=tuple(map(filled, sample.options)),
    )


def _without_slots(sample: Sample) -> Sample:
    """The sample as text alone."""

    def text(content: Content) -> Content:
        return tuple(part for part in content if not isinstance(part, Image))

    return replace(
        sample,
        id=f"{sample.id}|pictures=none",
        images=(),
        question=text(sample.question),
        options=tuple(map(text, sample.options)),
    )


def _answered_as(shot: Sample, other: Sample) -> Sample:
    changed = replace(shot, target=other.target, references=other.references)
    return replace(changed, id=f"{shot.id}|answers={other.id}")


def _answered(shot: Sample, letter: str) -> Sample:
    return replace(shot, id=f"{shot.id}|answers={letter}", target=letter, references=(letter,))


def _type(sample: Sample) -> str:
    """What an answer has to be to fit the question."""
    return sample.tags.get("question_type") or sample.tags.get("answer_type") or ""


def _related(row: Sample, sample: Sample) -> bool:
    return row.id == sample.id or bool(row.group and row.group == sample.group)


def _drawn(pool: Sequence[Sample], rng: Random) -> Iterator[Sample]:
    """The pool in a random order, as far as it is asked for."""
    seen: set[int] = set()
    while len(seen) < len(pool):
        place = rng.randrange(len(pool))
        if place not in seen:
            seen.add(place)
            yield pool[place]
