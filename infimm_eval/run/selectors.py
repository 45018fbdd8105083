"""What selects the shots of each cell, from what a person chose.

Opens encoders and searches only where a cell is retrieved; how is the business of ``shots``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infimm_eval import scorers
from infimm_eval.data.reading import numbered_json_lines
from infimm_eval.errors import UsageError, shown
from infimm_eval.formats import PromptFormat
from infimm_eval.run.plan import Plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.task_data import TaskData
from infimm_eval.shots import FILE, RETRIEVED, Selector, Shots
from infimm_eval.types import Model

if TYPE_CHECKING:
    from infimm_eval.shots.encoders import Encoders, Kept
    from infimm_eval.shots.retrieval import Queries, Space


@dataclass(slots=True)
class Selectors:
    """Makes the selectors of one run; what several cells search is searched once."""

    plan: Plan
    model: Model
    listener: ProgressListener
    _encoders: Encoders | None = None
    _found: dict[str, _Found] = field(default_factory=dict)
    """By task."""

    def of(self, data: TaskData, shots: int, seed: int, format: PromptFormat) -> Selector:
        """The selector of a cell; ``shots`` may be 0, for the examples of a zero-shot prompt,
        which are drawn unless the format retrieves these, too."""
        support = self.plan.support
        pool = data.pool(seed, with_pictures=shots > 0)
        if (rule := data.task.support) is not None:
            return _by_rule(data, Shots(data.task.name, seed, pool, support, rule=rule))
        # Never by an oracle: nobody would see that a figure without shots used the answers.
        retrieves = format.retrieves_text_only and support in RETRIEVED - {"oracle"}
        if not shots and not retrieves:
            drawn = format.text_only_support or ("fixed" if support == "fixed" else "random")
            return Shots(data.task.name, seed, pool, drawn)
        if support.startswith(FILE):
            return _listed(data, Path(support.removeprefix(FILE)), shots)
        if support not in RETRIEVED:
            return Shots(data.task.name, seed, pool, support, self.plan.distinct_pictures)
        otherwise = Shots(data.task.name, seed, pool, "random", self.plan.distinct_pictures)
        return self._retrieved(data, otherwise)

    def statistics(self, data: TaskData, shots: int) -> dict[str, int]:
        """How many pictures and texts were encoded for a cell, and how many were there already;
        asked a second time, all of them were."""
        found = self._found.get(data.task.name) if shots else None
        return found.report() if found else {}

    def _retrieved(self, data: TaskData, otherwise: Shots) -> Selector:
        from infimm_eval.shots import retrieval

        support, split = self.plan.support, data.split
        found = self._search(data)
        facts: dict[str, Any] = {"split_data": data.examples.identity, **found.facts}
        if support == "oracle":
            read = scorers.reads_text(data.task.scorers[0])
            return retrieval.Oracle(
                split=split,
                otherwise=otherwise,
                read=read,
                pictures=found.pictures,
                distinct=otherwise.distinct,
                facts=facts,
            )
        if support == "mmices":
            assert found.pictures and found.texts
            facts["candidates"] = retrieval.CANDIDATES
            ranked = retrieval.mmices(split, found.pictures, found.texts)
        else:
            space = found.pictures or found.texts
            assert space
            ranked = space.rows
        return retrieval.Retrieved(
            support=support,
            split=split,
            ranked=ranked,
            otherwise=otherwise,
            needs_picture=found.pictures is not None,
            nearest_last=support != "mmices" or self.plan.nearest_last,
            distinct=otherwise.distinct,
            facts=facts,
        )

    def _search(self, data: TaskData) -> _Found:
        """The spaces that the support needs, for every cell of a task at once."""
        if data.task.name in self._found:
            return self._found[data.task.name]
        from infimm_eval.shots import retrieval

        support, split, encoders = self.plan.support, data.split, self._opened()
        _require_comparable(data, support)
        queries = retrieval.Queries(data.queries(), split)
        most = max(self.plan.zero_shot_demos or 2, *self.plan.shots)
        wide = retrieval.CANDIDATES if support in ("mmices", "oracle") else most
        found = _Found()
        if support in ("rices", "mmices") or (support == "oracle" and encoders.pictures):
            found.pictures = self._pictures(data, queries, wide, found)
        if support in ("text", "mmices"):
            width = wide if support == "text" else 0
            found.texts = self._texts(data, queries, width, found)
        self._found[data.task.name] = found
        return found

    def _pictures(self, data: TaskData, queries: Queries, width: int, found: _Found) -> Space:
        from infimm_eval.shots import encoders, retrieval

        encoder = self._opened().require_pictures(self.plan.support)
        kept = encoders.kept_pictures(encoder, self._folder, self._told("pictures"))
        space = retrieval.picture_space(data.split, queries, kept, width)
        found.kept["pictures"] = kept
        found.facts["encoder"] = retrieval.encoder_facts(kept.identity)
        return space

    def _texts(self, data: TaskData, queries: Queries, width: int, found: _Found) -> Space:
        from infimm_eval.shots import encoders, retrieval

        encoder = self._opened().require_texts(self.plan.support)
        kept = encoders.kept_texts(encoder, self._folder, self._told("questions"))
        space = retrieval.text_space(data.split, queries, kept, width)
        found.kept["texts"] = kept
        found.facts["text_encoder"] = retrieval.encoder_facts(kept.identity)
        return space

    def _opened(self) -> Encoders:
        if self._encoders is None:
            from infimm_eval.shots import encoders

            plan = self.plan
            spec, device = plan.retrieval_model, plan.retrieval_device
            self._encoders = encoders.find(spec, self.model, device, self.listener.note)
        return self._encoders

    @property
    def _folder(self) -> Path:
        from infimm_eval.shots.feature_store import default_folder

        return self.plan.retrieval_cache or default_folder()

    def _told(self, what: str) -> Any:
        def told(count: int, total: int) -> None:
            if not count:
                self.listener.note(
                    f"encoding {total:,} {what} for --support {self.plan.support}, kept in "
                    f"{self._folder} for later runs"
                )
            self.listener.stage(f"{count:,} of {total:,} {what} encoded")

        return told


@dataclass(slots=True)
class _Found:
    """What was searched for one task."""

    pictures: Space | None = None
    texts: Space | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)

    def report(self) -> dict[str, int]:
        counted = {}
        for what, kept in self.kept.items():
            counted[f"retrieval_{what}_encoded"] = kept.encoded
            counted[f"retrieval_{what}_reused"] = kept.reused
            kept.reused, kept.encoded = kept.reused + kept.encoded, 0
        return counted


def _by_rule(data: TaskData, shots: Shots) -> Selector:
    """The benchmark's own rule.  ``UsageError`` where a person chose another."""
    if shots.support not in ("random", "fixed"):
        raise UsageError(
            f"{data.task.name} has its own rule for which examples a question is shown; "
            f"leave --support {shots.support} out"
        )
    return shots


def _require_comparable(data: TaskData, support: str) -> None:
    """``UsageError`` for a benchmark without the thing that is compared."""
    split, name = data.split, data.task.name
    if support in ("text", "mmices") and not any(split.questions):
        raise UsageError(
            f"{name} asks no questions that --support {support} could compare; use --support rices"
        )
    if support in ("rices", "mmices") and not any(split.pictures):
        raise UsageError(
            f"{name} shows no pictures that --support {support} could compare; use --support random"
        )


def _listed(data: TaskData, path: Path, count: int) -> Selector:
    """Shots by a person's file; ``UsageError`` names the row that is not so, or whose question the
    benchmark does not have."""
    from infimm_eval.shots.retrieval import Listed

    if not path.is_file():
        raise UsageError(f"--support file:{path}: there is no such file")
    shots: dict[str, tuple[int, list[str]]] = {}
    for number, row in numbered_json_lines(path):
        id, ids = _row(row, f"{path} row {number}")
        if id in shots:
            raise UsageError(f"{path} row {number}: question {id} is there twice")
        shots[id] = number, ids
    unknown = set(shots).difference(sample.id for sample in data.queries())
    if unknown and data.plan.limit is not None:
        unknown.difference_update(sample.id for sample in data.samples())
    if unknown:
        id = min(unknown, key=lambda id: shots[id][0])
        raise UsageError(f"{path} row {shots[id][0]}: {data.task.name} has no question {id!r}")
    digest = sha256(path.read_bytes()).hexdigest()
    facts = {"file": digest, "split_data": data.examples.identity}
    listed = Listed(where=str(path), split=data.split, shots=shots, facts=facts)
    for sample in data.queries():
        listed.rows(sample, count)
    return listed


def _row(row: Any, where: str) -> tuple[str, list[str]]:
    id, ids = (row.get("id"), row.get("shots")) if isinstance(row, dict) else (None, None)
    named = ids if isinstance(ids, list) else [None]
    if all(isinstance(name, str | int) for name in (id, *named)):
        return str(id), [str(shot) for shot in named]
    raise UsageError(
        f'{where} is {shown(row)}; a line such as {{"id": QUESTION, "shots": [TRAIN ID, ...]}} '
        "is wanted"
    )
