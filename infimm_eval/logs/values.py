"""What a log holds, as values: cells, their keys, entries.  Knows nothing of the disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeAlias

from infimm_eval.types import Answer, Image, Sample, Score

Spot: TypeAlias = tuple[str, int, int, str, str]
"""Where a figure stands in tables: task, shots, seed, control, support."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class CellKey:
    """Names a figure by all that it depends on: another model, prompt, limit or scorer makes
    another cell, and never takes the place of a finished one."""

    task: str
    shots: int
    seed: int = 0
    control: str = ""
    """What was done to the shots or the query to learn what they teach; empty: nothing."""
    support: str = ""
    """How the shots were selected; empty where none are shown."""
    protocol: str = ""
    model: str = ""
    data: str = ""
    """The last three are fingerprints; that of the data includes the limit and which samples."""

    @property
    def spot(self) -> Spot:
        """Where the figure stands in tables."""
        return (self.task, self.shots, self.seed, self.control, self.support)

    @property
    def name(self) -> str:
        """A short text that no other key has."""
        return fingerprint(astuple(self), 24)


def fingerprint(value: Any, length: int = 12) -> str:
    """Names a value that JSON can hold; equal values have equal names."""
    known = json.dumps(value, sort_keys=True, default=str)
    return sha256(known.encode("utf-8", "surrogatepass")).hexdigest()[:length]


@dataclass(frozen=True, slots=True)
class NamedImage(Image):
    """A picture as the log remembers it: by name.  Its pixels stayed in the dataset."""

    name: str = ""
    key: str = ""

    def read(self) -> bytes:
        """Never works: raises ``OSError``."""
        raise OSError(f"{self.name}: the log keeps the name of a picture, not its pixels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One finished figure.  The units behind it are read apart (``Log.units``): they are many."""

    task: str
    title: str
    shots: int
    seed: int
    model: str
    headline: str
    columns: Mapping[str, str]
    """Columns of the published tables, each with the metric (of ``metrics``) that it shows; empty
    where no paper has the benchmark."""
    value: float | None
    """In the units of the published tables; ``None`` where nothing could be scored."""
    ci95: tuple[float, float] | None
    n: int
    """Samples asked."""
    unscored: int
    """Samples without a score: no answer, or none that the scorer or the judge could decide on."""
    unparsed: int
    """Answers in which the scorer found none; the rules count them as wrong."""
    complete: bool
    """All rows of the data were asked and scored, and no fewer than the published split has."""
    metrics: Mapping[str, float]
    breakdown: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    """``protocol`` (all that must agree for two figures to be comparable), ``model``, ``code``."""
    control: str | None = None
    n_changed: int | None = None
    """Of a control, prompts in which it changed something; the others are the plain cell's."""
    support: str | None = None
    n_of: int | None = None
    """How many samples the published split has; ``None``: nobody says, or it is the demo's."""
    unanswered: int = 0
    cut: int = 0
    """Answers that were ended by the limit of new tokens."""
    empty: int = 0
    """Answers in which nothing is left to score."""
    shortened: int = 0
    """Prompts that lost shots to the model's context."""
    lost_shots: int = 0
    """How many shots these lost, together."""
    missing: int = 0
    """Samples that keep the cell from being whole: the unscored, or, where right answers are
    withheld and none can be scored, the unanswered."""
    limit: int | None = None
    scale: float = 100.0
    picture_tokens: Mapping[str, int | None] | None = None
    """Tokens that the model reads of a picture, of the ``query`` and of a ``shot``."""
    learned: Mapping[str, str] = field(default_factory=dict)
    """By scorer, the name of what it learned of the whole split (``Log.learned``)."""
    seconds: float = 0.0
    statistics: Mapping[str, Any] = field(default_factory=dict)
    """What the model counted from the end of the cell before to the end of this one: pictures
    encoded, tokens, seconds by stage."""
    workers: Mapping[str, Mapping[str, int]] | None = None
    """By kind of worker, how many there were and how many answers they gave in this run; ``None``
    where one process answered."""
    others: int = 0
    """Further cells of the folder that stand at the same spot and are not shown."""

    @property
    def key(self) -> CellKey:
        """What the figure depends on."""
        protocol = dict(self.settings.get("protocol", {}))
        data = protocol.pop("data", None)
        drawn = self.settings.get("drawn")
        return CellKey(
            task=self.task,
            shots=self.shots,
            seed=self.seed,
            control=self.control or "",
            support=self.support or "",
            protocol=fingerprint(protocol),
            model=fingerprint(self.settings.get("model", {})),
            data=fingerprint([data, self.limit, *([drawn] if drawn else [])]),
        )

    @property
    def finished(self) -> bool:
        """Everything that was asked is answered and, where that can be done, scored."""
        return self.n > 0 and not self.missing

    @property
    def subset(self) -> bool:
        """Fewer samples than the published split has."""
        return self.n_of is not None and self.n < self.n_of


def shown(cells: Iterable[Cell]) -> list[Cell]:
    """One cell a spot, in the order of the spots: the complete one, else the one with the most
    scored samples, of equals the last; each knows how many others there are.

    ``cells`` in the order in which they were finished.
    """
    spots: dict[Spot, list[Cell]] = {}
    for cell in cells:
        spots.setdefault(cell.key.spot, []).append(cell)
    return [
        replace(max(reversed(found), key=_standing), others=len(found) - 1)
        for _, found in sorted(spots.items())
    ]


def _standing(cell: Cell) -> tuple[bool, int]:
    return cell.complete, cell.n - cell.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sample of a cell as the log has it."""

    position: int
    sample: Sample
    prompt: str
    """What was asked, in readable form; pictures stand as ``[picture: name]``."""
    pictures: tuple[tuple[str, str], ...]
    """``(key, name)`` of the pictures in the prompt, in order; the sample's own come last."""
    read: tuple[str, ...]
    """The prompt as the model read it (``Answer.prompt``); its pictures are the last ones of
    ``pictures``.  Empty where the model keeps it to itself."""
    shot_ids: tuple[str, ...]
    answer: Answer | None
    said: str | None
    """The answer as its prompt template reads it: what was scored."""
    score: Score | None
