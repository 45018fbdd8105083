"""The cells of a run's controls: the questions of a plain cell, with something changed.

Knows which controls apply to which cell; what they change is their own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from infimm_eval import formats, registry
from infimm_eval.run.questions import CellQuestions
from infimm_eval.run.selectors import Selectors
from infimm_eval.run.task_data import TaskData
from infimm_eval.shots import controls

_SAME = ("pictures=swapped", "answers=shuffled")
"""Where nothing is asked, these are the same prompts up to their order: the first is run."""


def cells(plain: CellQuestions) -> list[CellQuestions]:
    """The cells that stand beside a plain one, one a control, in the order of their names."""
    return [_cell(plain, name) for name in _names(plain)]


def _cell(plain: CellQuestions, name: str) -> CellQuestions:
    other = controls.foreign_task(name)
    foreign = _lender(plain, other) if other else None
    return CellQuestions(
        plain.data,
        plain.shots,
        plain.seed,
        plain.form,
        plain.selectors,
        control=name,
        foreign=foreign,
    )


def _lender(plain: CellQuestions, task: str) -> CellQuestions:
    """The benchmark whose shots are shown, as if it were asked; they are drawn, whatever selects
    the plain cell's."""
    lending, plan = registry.load(task), replace(plain.plan, support="random")
    form = formats.form(lending, plain.form.format, plain.form.style)
    selectors = Selectors(plan, plain.selectors.model, plain.selectors.listener)
    return CellQuestions(TaskData(lending, plan), plain.shots, plain.seed, form, selectors)


def skipped(plain: Sequence[CellQuestions]) -> Iterator[str]:
    """A line for each kind of control that is left out."""
    if plain and (names := plain[0].plan.skipped_controls):
        yield f"at 0 shots only the query is changed; skipped there: {', '.join(names)}"
    alike = dict.fromkeys(cell.task.title for cell in plain if _alike(cell))
    for title in alike:
        yield f"{title} asks nothing beside its pictures: {_SAME[1]} is {_SAME[0]}, which runs"


def _names(plain: CellQuestions) -> Iterable[str]:
    names = plain.plan.controls_of(plain.task, plain.shots)
    return [name for name in names if name != _SAME[1]] if _alike(plain) else names


def _alike(plain: CellQuestions) -> bool:
    """Whether two of its controls would be one."""
    names = plain.plan.controls_of(plain.task, plain.shots)
    first = list(islice(plain.data.samples(), 1))
    return set(_SAME) <= set(names) and not any(s.question or s.options for s in first)
