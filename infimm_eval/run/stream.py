"""Run benchmarks on a model, cell by cell: ask what is not answered yet, measure, keep.

Reads top to bottom in the order data flows.  Knows no benchmark and no model by name, and does
not print: it tells a ``Watcher``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from infimm_eval import __version__, judging, log, prompts, stats, thumbnails
from infimm_eval.errors import MachineryError
from infimm_eval.measuring import Measure, Measured
from infimm_eval.plan import Plan
from infimm_eval.questions import Material, Questions
from infimm_eval.types import Model, Request, Rubric

__all__ = ["Plan", "Watcher", "run"]


class Watcher(Protocol):
    """Is told how a run gets on."""

    def started(self, place: log.Place, title: str, total: int | None) -> None: ...
    def asked(self, kept: bool) -> None:
        """A question has its answer; ``kept``: from an earlier run."""
        ...

    def stage(self, text: str) -> None: ...
    def note(self, text: str) -> None:
        """What a person should read, now or afterwards."""
        ...

    def finished(self, cell: log.Cell) -> None: ...


def run(plan: Plan, model: Model, folder: Path, watcher: Watcher) -> list[log.Cell]:
    """Run every cell of the plan and leave a finished log in ``folder``; continue one that is
    there.  Returns the cells of this plan, in its order."""
    cells = []
    with log.Log(folder, writing=True) as kept:
        # All are opened before anything is asked: what is missing is said at once.
        material = {task.name: Material(task, plan) for task in plan.tasks}
        for rows in material.values():
            _want_a_judge(rows, plan)
        _make_way(kept, model, watcher)
        for task, place in plan.places():
            questions = Questions(material[task.name], place, plan.style or model.style)
            cells.append(_run_cell(questions, model, kept, watcher))
            log.write_results(folder, kept.cells())
            watcher.finished(cells[-1])
    return cells


def _want_a_judge(rows: Material, plan: Plan) -> None:
    """Miss the judge now, not after every question."""
    ruler = next(iter(rows.task.variants.values()))
    first = next(rows.samples(), None)
    if isinstance(ruler, Rubric) and first is not None and first.references:
        judging.needed(plan.judge, rows.task.title)


def _make_way(kept: log.Log, model: Model, watcher: Watcher) -> None:
    """A folder shows the figures of one model; answers of others stay in the log."""
    mine = log.asker("generate", _settings(model))
    strange = [
        cell for cell in kept.cells() if log.asker("generate", cell.settings["model"]) != mine
    ]
    for cell in strange:
        kept.begin(cell.place)
    if strange:
        watcher.note(
            f"{len(strange)} figures here are of another model ({strange[0].model}) or of other "
            "settings of this one: they make way, their answers are kept"
        )


def _run_cell(questions: Questions, model: Model, kept: log.Log, watcher: Watcher) -> log.Cell:
    began, counted = time.monotonic(), _statistics(model)
    kept.begin(questions.place)
    watcher.started(questions.place, questions.task.title, questions.material.total)
    _ask(questions, model, kept, watcher)
    statistics = _since(counted, _statistics(model))
    if questions.plan.check_batching:
        statistics |= _check_batching(questions, model, kept, watcher)
    watcher.stage("scoring")
    measured = Measure(
        task=questions.task,
        place=questions.place,
        kept=kept,
        read=questions.wording.read,
        split=questions.material.samples,
        note=watcher.note,
        judge=questions.plan.judge,
        judge_runs=questions.plan.judge_runs,
    ).measure()
    if measured.shortened:
        watcher.note(
            f"{questions.task.title}: {measured.shortened} prompts did not fit into the model's "
            "context with all their shots; the first shots were left out"
        )
    watcher.stage("intervals")
    cell = _cell(questions, model, measured, statistics, time.monotonic() - began)
    kept.finish(cell, measured.texts, measured.outcomes.scores, measured.summary.units)
    watcher.stage("thumbnails")
    _keep_pictures(questions, kept)
    return cell


def _ask(questions: Questions, model: Model, kept: log.Log, watcher: Watcher) -> None:
    """Put every question to the model that the log has no answer for."""
    asker = log.asker("rank" if questions.ranks else "generate", _settings(model))
    waiting: dict[str, str] = {}
    failed, reason = 0, None

    def requests() -> Iterator[Request]:
        for position, question in enumerate(questions):
            text = log.dump_prompt(question.request.prompt)
            key = log.request_key(asker, question.request, text)
            kept.add_entry(questions.place, position, question.sample, text, question.shot_ids, key)
            if kept.known(key):
                watcher.asked(kept=True)
                continue
            waiting[question.sample.id] = key
            yield question.request

    for answer in (model.rank if questions.ranks else model.generate)(requests()):
        key = waiting.pop(answer.id)
        if answer.finish == "error":  # not kept, so that the same command asks again
            failed, reason = failed + 1, reason or answer.notes.get("error", "no reason given")
        else:
            kept.add_answer(key, answer)
            watcher.asked(kept=False)
    kept.save()
    if failed:
        watcher.note(f"{questions.task.title}: {failed} questions failed ({reason})")
    if waiting:
        some = ", ".join(islice(waiting, 3))
        raise MachineryError(f"{model.name} left {len(waiting)} questions open ({some})")


def _check_batching(
    questions: Questions, model: Model, kept: log.Log, watcher: Watcher
) -> dict[str, int]:
    """Ask some samples again, each alone: does anything change that the batch should not?"""
    ids = (s.id for s, answer in kept.answered(questions.place) if answer is not None)
    chosen = thumbnails.showcase(ids, questions.plan.check_batching)
    together = {e.sample.id: e.answer for e in kept.find(questions.place, chosen) if e.answer}
    ask = model.rank if questions.ranks else model.generate
    watcher.stage("checking the batch")
    differ = []
    for question in questions:
        if question.sample.id in chosen:
            (alone,) = ask([question.request])
            if alone.text != together[question.sample.id].text:
                differ.append(question.sample.id)
    found = f"{len(differ)} of {len(chosen)} answers differ when asked alone"
    watcher.note(f"{questions.task.title}: {found}" + (f" ({differ[0]}, ...)" if differ else ""))
    return {"batching_checked": len(chosen), "batching_differs": len(differ)}


def _cell(
    questions: Questions,
    model: Model,
    measured: Measured,
    statistics: Mapping[str, Any],
    seconds: float,
) -> log.Cell:
    task, summary, limit = questions.task, measured.summary, questions.plan.limit
    return log.Cell(
        task=task.name,
        title=f"{task.title} with OCR" if questions.ocr else task.title,
        shots=questions.place.shots,
        seed=questions.place.seed,
        model=model.name,
        headline=task.headline,
        columns=task.columns,
        value=summary.metrics.get(task.headline),
        ci95=stats.interval(summary.units, summary.scale) if summary.units else None,
        n=len(measured.outcomes),
        unscored=measured.unscored,
        unparsed=measured.unparsed,
        unanswered=measured.unanswered,
        shortened=measured.shortened,
        missing=measured.missing,
        complete=limit is None and measured.missing == 0 and bool(measured.outcomes),
        limit=limit,
        metrics=summary.metrics,
        breakdown=summary.breakdown,
        settings={
            "protocol": {**questions.protocol(), **measured.ruler},
            "model": _settings(model),
            "code": {"infimm_eval": __version__},
        },
        scale=summary.scale,
        seconds=round(seconds, 3),
        statistics=statistics,
    )


def _keep_pictures(questions: Questions, kept: log.Log) -> None:
    """Thumbnails for the report: of samples picked by a hash of their ids, so that two runs show
    the same ones."""
    ids = (id for id, _ in kept.values(questions.place))
    chosen = set(thumbnails.showcase(ids, questions.plan.samples_shown))
    samples = questions.material.samples()
    while chosen:
        sample = next(samples)
        if sample.id in chosen:
            chosen.remove(sample.id)
            for image in prompts.pictures(questions.shown_with(sample)):
                if not kept.has_picture(image.key):
                    kept.add_picture(image.key, thumbnails.webp(image))
    kept.save()


def _settings(model: Model) -> dict[str, Any]:
    return {"name": model.name, **model.settings}


def _statistics(model: Model) -> dict[str, Any]:
    """What the model counts, where it counts."""
    return dict(getattr(model, "statistics", {}))


def _since(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Counters that grew while a cell ran; what is not a number is taken as it stands."""
    return {
        name: round(value - before.get(name, 0), 6) if isinstance(value, int | float) else value
        for name, value in after.items()
    }
