"""From a cell that was asked to a finished figure in the log: scored, summarised, written down.

Asks nothing of the model; knows no benchmark by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infimm_eval import logs, prompts, stats
from infimm_eval.run import model_graded, picture_tokens, provenance, thinking, thumbnails
from infimm_eval.run.progress import ProgressListener
from infimm_eval.run.questions import CellQuestions
from infimm_eval.run.scoring import Scoreboard, Scored, facts
from infimm_eval.run.stream import CellProgress, settings
from infimm_eval.types import Model, Scorer, Task


def protocol(questions: CellQuestions, judge: model_graded.Judge | None) -> dict[str, Any]:
    """All that must agree for two figures to be comparable."""
    return {**questions.protocol(), **facts(questions.task, judge)}


def draft_name(questions: CellQuestions, model: Model) -> str:
    """Names what a cell asks, whatever scores it."""
    data = questions.data
    asked = [questions.protocol(), data.limit, settings(model), *data.drawn.values()]
    return logs.fingerprint(asked, 24)


@dataclass(frozen=True, slots=True)
class Learned:
    """What scorers learn of a whole split, kept in the log."""

    log: logs.Log
    questions: CellQuestions
    digests: dict[str, str]
    """By the scorer's name."""

    def __call__(self, scorer: Scorer) -> Any:
        """A JSON value, or ``None`` where there is nothing to know."""
        value = self.questions.data.learned(scorer)
        if value is not None:
            self.digests[scorer.name] = self.log.add_learned(value)
        return value


def finish(
    cell: CellProgress,
    model: Model,
    log: logs.Log,
    listener: ProgressListener,
    judge: model_graded.Judge | None,
) -> logs.Cell:
    """Score a cell that was asked and write it down; returns it as it stands in the log."""
    began = time.monotonic()
    questions = cell.questions
    listener.stage(f"scoring {questions.title}")
    learned = Learned(log, questions, {})
    scored = Scoreboard(
        task=questions.task,
        pairs=lambda: log.answered(cell.roster),
        read=thinking.reader(questions.template.read, questions.plan.thinking),
        learned=learned,
        note=listener.note,
        judge=judge,
    ).score()
    if scored.counts.shortened:
        listener.note(
            f"{questions.title} at {questions.shots} shots: {scored.counts.shortened} prompts did "
            "not fit into the model's context with all their shots; the first shots were left out, "
            f"{scored.counts.lost_shots} in all"
        )
    made = logs.Cell(
        task=questions.task.name,
        title=questions.title,
        shots=questions.shots,
        seed=questions.seed,
        control=questions.control or None,
        n_changed=cell.changed if questions.control else None,
        support=questions.plan.support_of(questions.shots),
        model=model.name,
        limit=questions.data.limit,
        n_of=questions.data.size,
        settings={
            "protocol": protocol(questions, judge),
            "model": settings(model),
            "code": provenance.code(model),
            **questions.data.drawn,
        },
        picture_tokens=picture_tokens.measured(log, cell.roster, model),
        seconds=round(cell.seconds + time.monotonic() - began, 3),
        statistics={**cell.statistics, **questions.statistics},
        workers=_shares(cell.workers) or None,
        learned=learned.digests,
        **figures(questions.task, scored, limit=questions.data.limit, n_of=questions.data.size),
    )
    log.finish(cell.roster, made, scored.texts, scored.outcomes.scores, scored.summary.units)
    return made


def _shares(answered: Mapping[tuple[str, int], int]) -> dict[str, dict[str, int]]:
    """``{kind: {"workers": n, "answers": n}}`` from answers by kind and number of worker."""
    found: dict[str, dict[str, int]] = {}
    for (kind, _), answers in sorted(answered.items()):
        share = found.setdefault(kind, {"workers": 0, "answers": 0})
        share["workers"] += 1
        share["answers"] += answers
    return found


def figures(task: Task, scored: Scored, *, limit: int | None, n_of: int | None) -> dict[str, Any]:
    """The fields of a cell that follow from its scores."""
    summary, counts, n = scored.summary, scored.counts, len(scored.outcomes)
    all_asked = (limit is None or n < limit) and n >= (n_of or 1)
    return {
        "headline": task.headline,
        "columns": task.columns,
        "value": summary.metrics.get(task.headline),
        "ci95": stats.interval(summary.units, summary.scale) if summary.units else None,
        "n": n,
        "unscored": scored.unscored,
        "unparsed": scored.unparsed,
        "unanswered": counts.unanswered,
        "cut": counts.cut,
        "empty": counts.empty,
        "shortened": counts.shortened,
        "lost_shots": counts.lost_shots,
        "missing": scored.missing,
        "complete": all_asked and scored.missing == 0,
        "metrics": summary.metrics,
        "breakdown": summary.breakdown,
        "scale": summary.scale,
    }


def keep_pictures(
    questions: CellQuestions, cell: logs.Cell, log: logs.Log, note: Callable[[str], None]
) -> None:
    """Thumbnails for the report: of samples picked by a hash of their ids, so that two runs show
    the same ones.  A picture that cannot be shown is left out and named: it costs no figure."""
    ids = (id for id, _ in log.values(cell.key))
    chosen = set(thumbnails.showcase(ids, questions.plan.samples_shown))
    samples = questions.data.samples()
    unseen = []
    while chosen:
        sample = next(samples)
        if sample.id not in chosen:
            continue
        chosen.remove(sample.id)
        for image in prompts.pictures(questions.shown_with(sample)):
            if not log.has_picture(image.key):
                try:
                    log.add_picture(image.key, *questions.data.thumbnail(image))
                except OSError:
                    unseen.append(image.name)
    if unseen:
        note(f"{questions.title}: no thumbnail of {len(unseen)} pictures ({unseen[0]})")
    log.save()
