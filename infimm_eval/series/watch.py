"""``watch``: follow a training run, measure every checkpoint, judge the series at one error rate.

Finds, opens, measures, writes down; how a checkpoint is asked and judged is others' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from infimm_eval.errors import UsageError
from infimm_eval.run import PlanRequest, ProgressListener, evaluate
from infimm_eval.run.plan import Options
from infimm_eval.series import page, trackers
from infimm_eval.series.folder import LIVE, Agreed, Point, SeriesFolder, first_regression
from infimm_eval.series.follow import CHECKPOINT, Watcher
from infimm_eval.series.looks import LOOKS
from infimm_eval.series.measuring import Measuring

if TYPE_CHECKING:
    from typing import Unpack

    from infimm_eval.run.plan import Plan
    from infimm_eval.types import Model, Task

SHOWN = 48
"""Samples of a cell whose pictures are kept: so many logs, and few of them are looked at."""


class WatchOptions(Options, total=False):
    """What may be chosen about a watch beside what may be chosen about a run."""

    model: str
    """How a checkpoint is opened; ``{checkpoint}`` stands for its folder, ``{step}`` for its
    step.  The folder alone, unless given."""
    baseline: str | Path | None
    best: bool
    planned: int
    alpha: float
    tolerance: Sequence[str]
    first: int | None
    stop_when_decided: bool
    newest_first: bool
    once: bool
    until_step: int | None
    gate: bool
    every: float
    """Seconds between two looks at the folder."""
    track: Sequence[str]
    track_project: str | None


@dataclass(frozen=True, slots=True)
class Series:
    """A series as a watch left it."""

    folder: Path
    points: Sequence[Point]
    skipped: Mapping[str, str]
    """Why checkpoints are left alone, by their path."""

    @property
    def regression(self) -> Point | None:
        """The checkpoint of the first regression that was proven."""
        return first_regression(self.points)


def watch(
    folder: str | Path,
    tasks: Sequence[str | Task] | str,
    shots: Sequence[int] | int = (0,),
    *,
    output: str | Path,
    data: str | Path | None = None,
    limit: int | None = None,
    seeds: Sequence[int] | int = (0,),
    progress: bool | ProgressListener = True,
    **options: Unpack[WatchOptions],
) -> Series:
    """Measure the checkpoints of a training run as they come; the same call again goes on.

    ``folder``: what the run writes its checkpoints into.  ``output``: the folder of the series.
    With ``once`` what is there now is measured; with ``until_step`` the call ends when that step
    is; with ``gate`` at the first proven regression; else never.  ``options`` as on the command
    line, with underscores.

    ``UsageError`` for what cannot be done, or was agreed otherwise when the series began.
    """
    request = _request(tasks, shots, data, limit, seeds, options)
    listener = evaluate.listener_of(progress)
    with opened(Path(output), request, options, listener) as measuring:
        Watcher(Path(folder), measuring, request.options, options, listener.stage).follow()
        return _as_left(measuring.series)


def measure_step(
    model: Model,
    step: int,
    /,
    tasks: Sequence[str | Task] | str,
    shots: Sequence[int] | int = (0,),
    *,
    output: str | Path,
    data: str | Path | None = None,
    limit: int | None = None,
    progress: bool | ProgressListener = True,
    **options: Unpack[WatchOptions],
) -> Series:
    """Measure a model in memory as the point of a series at a training step; ``wrap`` makes one of
    a live module.  Otherwise as ``watch``, which may go on with the same series."""
    request = _request(tasks, shots, data, limit, 0, options)
    listener = evaluate.listener_of(progress)
    with opened(Path(output), request, options, listener) as measuring:
        series = measuring.series
        point = series.point(step, LIVE)
        while not point.done:
            measuring.next_part(point, evaluate.opened(model, request.options))
        page.write(measuring.tables)
        names, project = options.get("track") or (), options.get("track_project")
        with trackers.opened(names, series, project, listener.note) as written:
            written.tell()
        return _as_left(series)


@contextmanager
def opened(
    output: Path, request: PlanRequest, options: WatchOptions, listener: ProgressListener
) -> Iterator[Measuring]:
    """A series, begun or gone on with, for this process alone while it is open."""
    _check(options)
    # Figures beside the headline judge nothing here, and some take longer than the answers.
    usual = {"samples_shown": SHOWN, **request.options, "no_companions": True}
    request = replace(request, options=cast("Options", usual))
    plan = evaluate.planned_for(options.get("model") or CHECKPOINT, request)
    agreed = _agreed(plan, request, options)
    series = SeriesFolder(output, agreed)
    try:
        first = None if agreed.looks else options.get("first")
        measuring = Measuring(plan, series, listener, first)
        _ = measuring.jury  # a baseline that lacks something is said before anything is asked
        series.save()
        yield measuring
    finally:
        series.close()


def _request(
    tasks: Sequence[str | Task] | str,
    shots: Sequence[int] | int,
    data: str | Path | None,
    limit: int | None,
    seeds: Sequence[int] | int,
    options: WatchOptions,
) -> PlanRequest:
    known = [*WatchOptions.__annotations__, *Options.__annotations__]
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"watch got an unexpected keyword argument {name!r}{hint}")
    return PlanRequest(
        tasks=[tasks] if isinstance(tasks, str) else list(tasks),
        shots=[shots] if isinstance(shots, int) else list(shots),
        seeds=[seeds] if isinstance(seeds, int) else list(seeds),
        data=None if data is None else str(data),
        limit=limit,
        options=cast("Options", {n: v for n, v in options.items() if n in Options.__annotations__}),
    )


def _as_left(series: SeriesFolder) -> Series:
    return Series(series.folder, tuple(series.points), dict(series.skipped))


def _check(options: WatchOptions) -> None:
    """``UsageError`` for choices that do not go together."""
    planned, alpha = options.get("planned", 50), options.get("alpha", 0.05)
    if type(planned) is not int or planned < 1:
        raise UsageError(f"--planned should be a number of checkpoints from 1, not {planned!r}")
    if not 0 < alpha < 1:
        raise UsageError(f"--alpha should lie between 0 and 1, not {alpha!r}")
    if options.get("baseline") and options.get("best"):
        raise UsageError("--baseline and --best: checkpoints are compared with the one or the "
                         "other; leave one out")  # fmt: skip
    if options.get("stop_when_decided") and not options.get("baseline"):
        raise UsageError("--stop-when-decided needs a --baseline to decide against")
    if options.get("gate") and not (options.get("baseline") or options.get("best")):
        raise UsageError("--gate needs a --baseline, or --best, to compare with")
    if options.get("stop_when_decided") and options.get("first"):
        raise UsageError("--first is for evaluations that are asked whole; --stop-when-decided "
                         "asks no more than it needs")  # fmt: skip
    if (every := options.get("every", 1.0)) <= 0:
        raise UsageError(f"--every should be a number of seconds above 0, not {every!r}")
    if (first := options.get("first")) is not None and (type(first) is not int or first < 1):
        raise UsageError(f"--first should be a number of samples from 1, not {first!r}")


_MATERIAL = Options.__annotations__.keys() - {
    *(
        "model_option",
        "model_revision",
        "no_companions",
        "base_url",
        "timeout",
        "batch_size",
        "picture_cache",
        "device",
    ),
    *("device_map", "retrieval_cache", "check_batching", "samples_shown", "judge_base_url"),
}
"""Options of a run that can move a figure."""

_USUAL = {"support": "random", "choice": "generate", "judge_runs": 1, "dtype": "auto"}
"""What the command line says where a person says nothing."""


def _agreed(plan: Plan, request: PlanRequest, options: WatchOptions) -> Agreed:
    baseline = options.get("baseline")
    material: dict[str, Any] = {
        name: value for name, value in request.options.items()
        if name in _MATERIAL and value not in (None, False, (), {}, [], _USUAL.get(name))
    }  # fmt: skip
    return Agreed(
        planned=options.get("planned", 50),
        alpha=options.get("alpha", 0.05),
        baseline=None if baseline is None else str(baseline),
        best=bool(options.get("best")),
        tasks=tuple(task.name for task in plan.tasks),
        shots=tuple(plan.shots),
        seeds=tuple(plan.seeds),
        data=plan.data,
        limit=plan.limit,
        looks=LOOKS if options.get("stop_when_decided") else (),
        tolerance=tuple(options.get("tolerance") or ()),
        options={name: _as_text(value) for name, value in sorted(material.items())},
    )


def _as_text(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else repr(value)
