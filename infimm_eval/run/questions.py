"""What one cell asks: samples, their examples, the wording, and so the requests.

Everything a question depends on meets here and is written into the protocol; who answers it, and
what the answer is worth, is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from infimm_eval import data, log, prompts
from infimm_eval.errors import UsageError, unknown
from infimm_eval.plan import ZERO_SHOT_DEMOS, Plan
from infimm_eval.shots import Shots, pool
from infimm_eval.types import Request, Sample, Source, Style, Task, Wording


class Material:
    """The rows of one benchmark, opened once for all its cells."""

    def __init__(self, task: Task, plan: Plan) -> None:
        self.task, self.plan = task, plan
        self.rows = self._open(task.source)
        self._pools: dict[int, list[Sample]] = {}

    def samples(self) -> Iterator[Sample]:
        """Every sample of the split, in the published order."""
        return map(self.task.sample, self.rows.rows())

    @cached_property
    def total(self) -> int:
        """How many samples will be asked; finds missing pictures before anything is."""
        return self.rows.total(self.plan.limit)

    def pool(self, seed: int, *, with_pictures: bool) -> list[Sample]:
        """The examples that shots are drawn from."""
        source = self.task.shots
        if source is None:
            return []
        if seed not in self._pools:
            rows = self._open(source).rows()
            self._pools[seed] = pool(map(self.task.sample, rows), self.task.name, seed)
        if with_pictures:
            shown = prompts.pictures(self._pools[seed])
            data.require_pictures(shown, f"{self.task.title} examples")
        return self._pools[seed]

    def _open(self, source: Source) -> data.Dataset:
        return data.open_source(source, self.plan.data, self.plan.revision, self.task.title)


@dataclass(frozen=True, slots=True)
class Question:
    """One sample as it is put to the model."""

    sample: Sample
    shot_ids: tuple[str, ...]
    request: Request


class Questions:
    """The questions of one cell, the same ones whoever is asked and in whatever order."""

    def __init__(self, material: Material, place: log.Place, style: Style) -> None:
        self.material, self.place, self.style = material, place, style
        self.task, self.plan = material.task, material.plan
        self.ocr = self.plan.ocr and self.task.ocr
        self.wording = _wording(self.task, style, self.plan.wording_of(self.task))
        if self.ocr:
            self.wording = prompts.with_ocr(self.wording)
        self.ranks = self.plan.choice == "rank" and self.task.rankable
        self._prompter = prompts.Prompter(style, self.wording)
        self._text_only = self._text_only_examples()
        self._shots = self._support()

    def __iter__(self) -> Iterator[Question]:
        for sample in islice(self.material.samples(), self.plan.limit):
            examples = self._examples(sample)
            prompt = self._prompter(sample, examples, text_only=not self.place.shots)
            request = Request(sample.id, prompt, self.wording.decoding, self._options(sample))
            yield Question(sample, tuple(shot.id for shot in examples), request)

    def shown_with(self, sample: Sample) -> list[Sample]:
        """The sample behind the examples whose pictures its prompt shows."""
        return [*(self._examples(sample) if self.place.shots else ()), sample]

    def protocol(self) -> dict[str, Any]:
        """All that must agree for two figures to be comparable, but for the ruler."""
        w = self.wording
        protocol: dict[str, Any] = {
            "task": self.task.name,
            "task_version": self.task.version,
            "data": self.material.rows.identity,
            "prompt_style": self.style,
            "prompt": {"ask": w.ask, "answer": w.answer, "system": w.system},
            "prompt_fingerprint": self._prompter.fingerprint,
            "decoding": asdict(w.decoding),
            "choice": "rank" if self.ranks else "generate",
            "shots": self.place.shots,
            "zero_shot_demos": self._text_only,
        }
        if self.ocr:
            protocol["ocr"] = "in the prompt"
        if self._shots is not None:
            protocol |= {
                "seed": self.place.seed,
                "support": self._shots.support,
                "pool": {"size": len(self._shots.pool), "fingerprint": self._shots.fingerprint},
            }
        return protocol

    def _text_only_examples(self) -> int:
        """The family's zero-shot prompt shows examples without their pictures."""
        if self.place.shots or self.task.shots is None:
            return 0
        chosen = self.plan.zero_shot_demos
        return ZERO_SHOT_DEMOS[self.style] if chosen is None else chosen

    def _support(self) -> Shots | None:
        if not (self.place.shots or self._text_only):
            return None
        seed = self.place.seed
        chosen = self.material.pool(seed, with_pictures=self.place.shots > 0)
        return Shots(self.task.name, seed, chosen, self.plan.support)

    def _examples(self, sample: Sample) -> list[Sample]:
        count = self.place.shots or self._text_only
        return self._shots.pick(sample, count) if self._shots else []

    def _options(self, sample: Sample) -> tuple[str, ...]:
        """The continuations that a ranking compares."""
        if not self.ranks:
            return ()
        return tuple("".join(p for p in option if isinstance(p, str)) for option in sample.options)


def _wording(task: Task, style: Style, replaced: Mapping[str, str]) -> Wording:
    if style not in task.wordings:
        raise UsageError(f"{task.name} has no {style} wording; it has {', '.join(task.wordings)}")
    for name in replaced:
        if name not in ("ask", "answer", "system"):
            raise unknown(f"part of the wording of {task.name}", name, ["ask", "answer", "system"])
    wording = task.wordings[style]
    return replace(
        wording,
        ask=replaced.get("ask", wording.ask),
        answer=replaced.get("answer", wording.answer),
        system=replaced.get("system", wording.system),
    )
