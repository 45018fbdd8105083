"""Run benchmarks on a model, cell by cell: ask what is not answered yet, score, summarise.

Reads top to bottom in the order data flows.  Knows no benchmark and no model by name, and does
not print: it tells a ``Watcher``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from infimm_eval import __version__, data, judging, log, prompts, stats, thumbnails
from infimm_eval.errors import MachineryError, UsageError, unknown
from infimm_eval.shots import Shots, Support, pool
from infimm_eval.types import (
    Answer,
    Model,
    Outcome,
    Record,
    Request,
    Rubric,
    Sample,
    Score,
    Scorer,
    Scoring,
    Source,
    Style,
    Summary,
    Task,
    Wording,
)

Choice = Literal["generate", "rank"]

ZERO_SHOT_DEMOS: Mapping[Style, int] = {"completion": 2, "instruct": 0}
"""Flamingo's zero-shot prompt shows two examples without their pictures; chat models get none."""


_UNANSWERED = Score(None, "no answer")


class Watcher(Protocol):
    """Is told how a run gets on.  ``total`` is ``None`` while the number of rows is not known."""

    def started(self, place: log.Place, title: str, total: int | None) -> None: ...
    def asked(self, kept: bool) -> None: ...
    def stage(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, cell: log.Cell) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run.  Everything here that can move a number ends up in the cell's settings."""

    tasks: Sequence[Task]
    shots: Sequence[int] = (0,)
    seeds: Sequence[int] = (0,)
    data: str = "demo"
    """``demo``, ``hub`` or a folder."""
    revision: str | None = None
    limit: int | None = None
    support: Support = "random"
    zero_shot_demos: int | None = None
    """``None``: two for ``completion``, none for ``instruct``."""
    style: Style | None = None
    """``None``: the model's own."""
    choice: Choice = "generate"
    judge: Model | None = None
    judge_runs: int = 1
    ocr: bool = False
    """Put OCR tokens into the questions of benchmarks that bring them."""
    wordings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``{task: {"ask": template, "answer": ..., "system": ...}}`` in place of the plugin's."""
    samples_shown: int = 200
    """Samples of a cell whose pictures are kept as thumbnails for the report."""

    def places(self) -> list[tuple[Task, log.Place]]:
        """The cells in order.  Zero-shot benchmarks have one each, at 0 shots and one seed."""
        return [
            (task, log.Place(task.name, count, seed))
            for task in self.tasks
            for count in (dict.fromkeys(self.shots) if task.shots else [0])
            for seed in (dict.fromkeys(self.seeds) if task.shots else self.seeds[:1])
        ]


def run(plan: Plan, model: Model, folder: Path, watcher: Watcher) -> list[log.Cell]:
    """Run every cell of the plan and leave a finished log in ``folder``; continue one that is
    there.  Returns the cells of this plan, in its order."""
    with log.Log(folder, writing=True) as kept:
        cells = []
        for task, place in plan.places():
            cell = _Cell(plan, task, place, model, kept, watcher).run()
            cells.append(cell)
            log.write_results(folder, kept.cells())
            watcher.finished(cell)
    return cells


class _Cell:
    """One task at one shot count and seed, from rows to a figure."""

    def __init__(
        self,
        plan: Plan,
        task: Task,
        place: log.Place,
        model: Model,
        kept: log.Log,
        watcher: Watcher,
    ) -> None:
        self.plan, self.task, self.place = plan, task, place
        self.model, self.log, self.watcher = model, kept, watcher
        self.style = plan.style or model.style
        self.wording = _wording(task, self.style, plan.wordings.get(task.name, {}))
        self.ocr = plan.ocr and task.ocr
        if self.ocr:
            self.wording = prompts.with_ocr(self.wording)
        self.prompter = prompts.Prompter(self.style, self.wording)
        self.rows = data.open_source(
            task.source, plan.data, revision=plan.revision, title=task.title
        )
        self.demos = self._demos()
        self.shown = place.shots or self.demos
        self.support = self._support()
        self.model_settings = {"name": model.name, **model.settings}

    def run(self) -> log.Cell:
        began = time.monotonic()
        before = dict(getattr(self.model, "statistics", {}))
        self._ask()
        statistics = _since(before, getattr(self.model, "statistics", {}))
        variant, ruler = next(iter(self.task.variants.items()))
        self.watcher.stage("scoring")
        scoring, judge = self._score(ruler)
        outcomes = self._outcomes(scoring.scores)
        summary = self.task.metrics(outcomes, scoring.corpus)
        others = self._other_rulers(outcomes, variant)
        self.watcher.stage("intervals")
        cell = self._cell(
            outcomes,
            replace(summary, metrics={**summary.metrics, **others}),
            {"ruler": variant, **judge},
            time.monotonic() - began,
            statistics,
        )
        said = (record.text if record else None for record in self._records())
        self.log.finish(cell, said, [outcome.score for outcome in outcomes])
        self._keep_pictures()
        return cell

    # -- asking ----------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Put every question to the model that the log has no answer for."""
        waiting: dict[str, str] = {}
        failed: list[Answer] = []
        ask = self.model.rank if self._ranks() else self.model.generate
        self.log.begin(self.place)
        self.watcher.started(self.place, self.task.title, self._total())
        for answer in ask(self._requests(waiting)):
            if answer.finish == "error":
                failed.append(answer)
                waiting.pop(answer.id, None)
                continue
            self.log.add_answer(waiting.pop(answer.id), answer)
            self.watcher.asked(kept=False)
        self.log.save()
        if waiting:
            some = ", ".join(islice(waiting, 3))
            raise MachineryError(f"{self.model.name} left {len(waiting)} questions open ({some})")

    def _requests(self, waiting: dict[str, str]) -> Iterator[Request]:
        asker = log.asker("rank" if self._ranks() else "generate", self.model_settings)
        for position, sample in enumerate(islice(self._samples(), self.plan.limit)):
            examples = self.support.pick(sample, self.shown) if self.support else []
            prompt = self.prompter(sample, examples, text_only=not self.place.shots)
            request = Request(sample.id, prompt, self.wording.decoding, self._options(sample))
            text = log.dump_prompt(prompt)
            key = log.request_key(asker, request, text)
            shot_ids = [shot.id for shot in examples]
            self.log.add_entry(self.place, position, sample, text, shot_ids, key)
            if self.log.known(key):
                self.watcher.asked(kept=True)
                continue
            waiting[sample.id] = key
            yield request

    def _open(self, source: Source) -> data.Dataset:
        return data.open_source(source, self.plan.data, self.plan.revision, self.task.title)

    def _samples(self) -> Iterator[Sample]:
        return map(self.task.sample, self.rows.rows())

    def _total(self) -> int:
        return self.rows.total(self.plan.limit)

    def _ranks(self) -> bool:
        return self.plan.choice == "rank" and self.task.rankable

    def _options(self, sample: Sample) -> tuple[str, ...]:
        if not self._ranks():
            return ()
        return tuple("".join(p for p in option if isinstance(p, str)) for option in sample.options)

    def _demos(self) -> int:
        """Text-only examples of this cell: shown only at zero shots."""
        if self.place.shots or self.task.shots is None:
            return 0
        chosen = self.plan.zero_shot_demos
        return ZERO_SHOT_DEMOS[self.style] if chosen is None else chosen

    def _support(self) -> Shots | None:
        if not self.shown or self.task.shots is None:
            return None
        samples = map(self.task.sample, self._open(self.task.shots).rows())
        chosen = pool(samples, self.task.name, self.place.seed)
        if self.place.shots:
            shown = (image for sample in chosen for image in sample.images)
            data.require_pictures(shown, f"{self.task.title} examples")
        return Shots(self.task.name, self.place.seed, chosen, self.plan.support)

    # -- scoring ---------------------------------------------------------------------------------

    def _records(self) -> Iterator[Record | None]:
        """The answered samples in the order of the split, ``None`` for the others."""
        for sample, answer in self.log.answered(self.place):
            yield Record(sample, answer, self.wording.read(answer.text)) if answer else None

    @cached_property
    def withheld(self) -> bool:
        """No right answer is known: the cell is for a submission, not for a figure."""
        return self.task.withheld or not any(
            sample.references for sample, _ in self.log.answered(self.place)
        )

    def _answered(self) -> Iterator[Record]:
        return (record for record in self._records() if record is not None)

    def _score(self, ruler: Scorer | Rubric) -> tuple[Scoring, dict[str, Any]]:
        if not isinstance(ruler, Rubric):
            return ruler(self._answered(), self._samples), {}
        if self.withheld:
            return Scoring([Score(None, "no right answer") for _ in self._answered()]), {}
        judge = judging.needed(self.plan.judge, self.task.title)
        scores = judging.score(
            ruler, self._answered, judge, self.plan.judge_runs, self.log, self.watcher.note
        )
        facts = {"name": judge.name, **judge.settings}
        return Scoring(scores), {"judge": facts, "judge_runs": self.plan.judge_runs}

    def _outcomes(self, scores: Iterable[Score]) -> list[Outcome]:
        """One outcome a sample; the unanswered are unscored."""
        found = iter(scores)
        return [
            Outcome(sample.id, sample.group or sample.id, sample.tags, next(found))
            if answer
            else Outcome(sample.id, sample.group or sample.id, sample.tags, _UNANSWERED)
            for sample, answer in self.log.answered(self.place)
        ]

    def _other_rulers(self, outcomes: Sequence[Outcome], default: str) -> dict[str, float]:
        """The headline under every other ruler of the benchmark, by ``headline:ruler``."""
        found = {}
        for name, ruler in self.task.variants.items():
            if name == default or isinstance(ruler, Rubric):
                continue
            try:
                scoring = ruler(self._answered(), self._samples)
            except UsageError as lacking:  # an optional package, say: the others stand without it
                self.watcher.stage(f"without {self.task.headline}:{name}: {lacking}")
                continue
            scores = iter(scoring.scores)
            rescored = [
                o if o.score is _UNANSWERED else replace(o, score=next(scores)) for o in outcomes
            ]
            summary = self.task.metrics(rescored, scoring.corpus)
            if self.task.headline in summary.metrics:
                found[f"{self.task.headline}:{name}"] = summary.metrics[self.task.headline]
        return found

    # -- the figure ------------------------------------------------------------------------------

    def _cell(
        self,
        outcomes: Sequence[Outcome],
        summary: Summary,
        ruler: Mapping[str, Any],
        seconds: float,
        statistics: Mapping[str, Any],
    ) -> log.Cell:
        unanswered = sum(outcome.score is _UNANSWERED for outcome in outcomes)
        unscored = sum(outcome.score.value is None for outcome in outcomes)
        missing = unanswered if self.withheld else unscored
        value = summary.metrics.get(self.task.headline)
        return log.Cell(
            task=self.task.name,
            title=self.task.title + " with OCR" * self.ocr,
            shots=self.place.shots,
            seed=self.place.seed,
            model=self.model.name,
            headline=self.task.headline,
            columns=self.task.columns,
            value=value,
            ci95=stats.interval(summary.units, summary.scale) if summary.units else None,
            n=len(outcomes),
            unscored=unscored,
            unparsed=sum(not outcome.score.parsed for outcome in outcomes),
            complete=self.plan.limit is None and missing == 0 and bool(outcomes),
            metrics=summary.metrics,
            breakdown=summary.breakdown,
            settings={
                "protocol": self._protocol(ruler),
                "model": self.model_settings,
                "code": {"infimm_eval": __version__},
            },
            unanswered=unanswered,
            limit=self.plan.limit,
            scale=summary.scale,
            seconds=round(seconds, 3),
            statistics=statistics,
            units=summary.units,
        )

    def _protocol(self, ruler: Mapping[str, Any]) -> dict[str, Any]:
        w, decoding = self.wording, self.wording.decoding
        protocol = {
            "task": self.task.name,
            "task_version": self.task.version,
            "data": self.rows.identity,
            "prompt_style": self.style,
            "prompt": {"ask": w.ask, "answer": w.answer, "system": w.system},
            "prompt_fingerprint": self.prompter.fingerprint,
            "decoding": {name: getattr(decoding, name) for name in decoding.__dataclass_fields__},
            "choice": "rank" if self._ranks() else "generate",
            "shots": self.place.shots,
            "zero_shot_demos": self.demos,
            **({"ocr": "in the prompt"} if self.ocr else {}),
            **ruler,
        }
        if self.support is not None:
            protocol |= {
                "seed": self.place.seed,
                "support": self.support.support,
                "pool": {"size": len(self.support.pool), "fingerprint": self.support.fingerprint},
            }
        return protocol

    def _keep_pictures(self) -> None:
        """Thumbnails for the report: of samples picked by a hash of their ids, so that two runs
        show the same ones."""
        chosen = thumbnails.showcase(
            (sample.id for sample in islice(self._samples(), self.plan.limit)),
            self.plan.samples_shown,
        )
        if not chosen:
            return
        pictures = {}
        for sample in islice(self._samples(), self.plan.limit):
            if sample.id in chosen:
                examples = self.support.pick(sample, self.place.shots) if self.support else []
                for image in prompts.pictures([*examples, sample]):
                    pictures[image.key] = image
        for key, image in pictures.items():
            if not self.log.has_picture(key):
                self.log.add_picture(key, thumbnails.webp(image))


def _wording(task: Task, style: Style, replaced: Mapping[str, str]) -> Wording:
    if style not in task.wordings:
        raise UsageError(f"{task.name} has no {style} wording; it has {', '.join(task.wordings)}")
    wording = task.wordings[style]
    for name in replaced:
        if name not in ("ask", "answer", "system"):
            raise unknown(f"part of the wording of {task.name}", name, ["ask", "answer", "system"])
    return replace(
        wording,
        ask=replaced.get("ask", wording.ask),
        answer=replaced.get("answer", wording.answer),
        system=replaced.get("system", wording.system),
    )


def _since(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Counters that grew while a cell ran; what is not a number is taken as it stands."""
    return {
        name: round(value - before.get(name, 0), 6) if isinstance(value, int | float) else value
        for name, value in after.items()
    }
