"""What a log holds, as values: places, cells, entries.  Knows nothing of the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infimm_eval.types import Answer, Image, Sample, Score


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which cell of the table."""

    task: str
    shots: int
    seed: int


@dataclass(frozen=True, slots=True)
class Named(Image):
    """A picture as the log remembers it: by name.  Its pixels stayed in the dataset."""

    name: str = ""
    key: str = ""

    def read(self) -> bytes:
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
    unscored: int
    """Samples without a score: no answer, or none that the ruler or the judge could decide on."""
    unparsed: int
    """Answers in which the ruler found none; the rules count them as wrong."""
    complete: bool
    """The whole split was asked and everything that can be scored is."""
    metrics: Mapping[str, float]
    breakdown: Mapping[str, Mapping[str, float]]
    settings: Mapping[str, Any]
    """``protocol`` (all that must agree for two figures to be comparable), ``model``, ``code``."""
    unanswered: int = 0
    shortened: int = 0
    """Prompts that lost shots to the model's context."""
    missing: int = 0
    """Samples that keep the cell from being whole: the unscored, or, where right answers are
    withheld and none can be scored, the unanswered."""
    limit: int | None = None
    scale: float = 100.0
    seconds: float = 0.0
    statistics: Mapping[str, Any] = field(default_factory=dict)
    """What the model counted while it worked: pictures encoded, tokens, seconds by stage."""

    @property
    def place(self) -> Place:
        return Place(self.task, self.shots, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sample of a cell as the log has it."""

    place: Place
    position: int
    sample: Sample
    prompt: str
    """What was asked, in readable form; pictures stand as ``[picture: name]``."""
    pictures: tuple[tuple[str, str], ...]
    """``(key, name)`` of the pictures in the prompt, in order; the sample's own come last."""
    shot_ids: tuple[str, ...]
    answer: Answer | None
    said: str | None
    """The answer as its wording reads it: what was scored."""
    score: Score | None
