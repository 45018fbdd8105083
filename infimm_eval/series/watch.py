"""``watch``: follow a training run, measure every checkpoint, judge the series at one error rate.

Finds, opens, measures, writes down; how a checkpoint is asked and judged is others' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from infimm_eval.errors import InfimmEvalError, UsageError, first_line
from infimm_eval.run import PlanRequest, ProgressListener, evaluate
from infimm_eval.run.plan import Options
from infimm_eval.series import page, trackers
from infimm_eval.series.checkpoints import Checkpoint, Look, find, lacks, look
from infimm_eval.series.folder import FEATURES, Agreed, Point, SeriesFolder
from infimm_eval.series.looks import LOOKS
from infimm_eval.series.measuring import Measuring

if TYPE_CHECKING:
    from typing import Unpack

    from infimm_eval.run.plan import Plan
    from infimm_eval.types import Model, Task

CHECKPOINT, STEP = "{checkpoint}", "{step}"
"""What stands for a checkpoint's folder and step in a model's name and options."""

SETTLING = 1.0
"""Seconds between the two looks at a checkpoint that nothing declares finished."""

SHOWN = 48
"""Samples of a cell whose pictures are kept: so many logs, and few of them are looked at."""

PATIENCE = 60.0
"""Seconds after which what could not be opened is tried again, unless its files change."""


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
    for name in options:
        if name not in WatchOptions.__annotations__ | Options.__annotations__:
            near = get_close_matches(
                name, [*WatchOptions.__annotations__, *Options.__annotations__]
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"watch got an unexpected keyword argument {name!r}{hint}")
    request = PlanRequest(
        tasks=[tasks] if isinstance(tasks, str) else list(tasks),
        shots=[shots] if isinstance(shots, int) else list(shots),
        seeds=[seeds] if isinstance(seeds, int) else list(seeds),
        data=None if data is None else str(data),
        limit=limit,
        options=cast("Options", {n: v for n, v in options.items() if n in Options.__annotations__}),
    )
    listener = evaluate.listener_of(progress)
    with opened(Path(output), request, options, listener) as measuring:
        watcher = Watcher(Path(folder), measuring, request.options, options, listener.stage)
        watcher.follow()
        series = measuring.series
        return Series(series.folder, tuple(series.points), dict(series.skipped))


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


def first_regression(points: Sequence[Point]) -> Point | None:
    """The checkpoint, of those judged, that was the first to be proven worse."""
    alarming = [point for point in points if point.alarms]
    return min(alarming, key=lambda p: (p.order is None, p.order or 0), default=None)


@dataclass
class Watcher:
    """Follows one folder into one series."""

    folder: Path
    measuring: Measuring
    options: Options
    how: WatchOptions
    say: Callable[[str], None] = lambda text: None
    """Is told every figure in a line."""
    _found: list[Checkpoint] = field(default_factory=list)
    _unsettled: bool = False
    _looks: dict[Path, tuple[Look, float]] = field(default_factory=dict)
    """What lay in every checkpoint, and since when nothing has changed there."""
    _failed: dict[Path, tuple[Look, float, float]] = field(default_factory=dict)
    """Checkpoints that could not be measured: as they were, when, and how long to wait."""
    _loader: Loader = field(init=False)

    def __post_init__(self) -> None:
        self.series = self.measuring.series
        self.listener = self.measuring.listener
        self._loader = Loader(self._opened)

    def follow(self) -> None:
        """Until the end that was agreed on; a checkpoint at a time, the cheap parts first."""
        written = trackers.opened(self.how.get("track") or (), self.series, self._project)
        try:
            self._tell(written)
            page.write(self.series)
            while not self._over():
                jobs = self._jobs()
                if jobs:
                    self._measure(jobs)
                    self._tell(written)
                elif self._unsettled:
                    time.sleep(SETTLING)
                elif self.how.get("once") or self._reached():
                    return
                else:
                    time.sleep(self.how.get("every") or 3.0)
        finally:
            self._loader.close()
            for tracker in written:
                tracker.finish()

    def _over(self) -> bool:
        """Whether a regression ends it."""
        return bool(self.how.get("gate")) and first_regression(self.series.points) is not None

    def _reached(self) -> bool:
        """Whether the last step that is wanted, or one beyond it, has been seen."""
        last = self.how.get("until_step")
        return last is not None and any(
            one.step >= last and str(one.path) not in self.series.skipped for one in self._found
        )

    def _jobs(self) -> list[Checkpoint]:
        """What can be measured now, what comes first before the rest."""
        self._found = find(self.folder, any_files=self._own)
        self._unsettled = False
        last = self.how.get("until_step")
        ready = [c for c in self._found if (last is None or c.step <= last) and self._ready(c)]
        ready.sort(key=lambda c: -c.step if self.how.get("newest_first") else c.step)
        return sorted(ready, key=lambda c: self._state(c) == "first")

    def _state(self, checkpoint: Checkpoint) -> str:
        known = self.series.known(checkpoint.step, str(checkpoint.path))
        return known.state if known else "begun"

    def _ready(self, checkpoint: Checkpoint) -> bool:
        """Whether there is something to ask of it and it is whole."""
        known = self.series.known(checkpoint.step, str(checkpoint.path))
        if known is not None and known.done:
            return False
        now, time_now = look(checkpoint.path), time.monotonic()
        seen, since = self._looks.get(checkpoint.path, (None, time_now))
        since = since if seen == now else time_now
        self._looks[checkpoint.path] = now, since
        settled = time_now - since >= SETTLING
        reason = lacks(checkpoint.path, now if settled else None, now, any_files=self._own)
        if checkpoint.path in self._failed:
            as_it_was, when, patience = self._failed[checkpoint.path]
            waited = time.monotonic() - when > patience and not self.how.get("once")
            if now == as_it_was and not waited:
                return False
        if not reason:
            return True
        if not settled and not (seen is not None and seen != now and self.how.get("once")):
            self._unsettled = True
        else:
            self._skip(checkpoint, f"{reason}; it is looked at again")
        return False

    def _skip(self, checkpoint: Checkpoint, reason: str) -> None:
        """Say once why a checkpoint is left alone."""
        path = str(checkpoint.path)
        if self.series.skipped.get(path) != reason:
            self.series.skipped[path] = reason
            self.series.save()
            self.listener.note(f"step {checkpoint.step:,} ({path}) is left out: {reason}")

    def _measure(self, jobs: Sequence[Checkpoint]) -> None:
        """The next part of the first job, the weights of the one after it being read meanwhile."""
        checkpoint = jobs[0]
        try:
            model = self._loader.take(checkpoint)
        except (InfimmEvalError, OSError) as error:
            self._fail(checkpoint, error)
            return
        if len(jobs) > 1:
            self._loader.read_ahead(jobs[1])
        point = self.series.point(checkpoint.step, str(checkpoint.path))
        try:
            self.measuring.next_part(point, model)
        except UsageError:
            raise
        except (InfimmEvalError, OSError) as error:
            self._fail(checkpoint, error)
            self._loader.let_go(checkpoint)
            return
        self._failed.pop(checkpoint.path, None)
        self.series.skipped.pop(str(checkpoint.path), None)
        self.series.save()
        if point.done:
            self._loader.let_go(checkpoint)
        for line in told(point):
            self.say(line)
        page.write(self.series)

    def _fail(self, checkpoint: Checkpoint, error: Exception) -> None:
        there = look(checkpoint.path)
        reason = first_line(error) if there else "it has vanished"
        _, _, before = self._failed.get(checkpoint.path, (there, 0.0, PATIENCE / 2))
        self._failed[checkpoint.path] = there, time.monotonic(), min(2 * before, 3600.0)
        self._skip(checkpoint, f"{reason}; it is tried again")

    def _tell(self, written: Sequence[trackers.Tracker]) -> None:
        """Give every tracker what it does not have yet."""
        for tracker in written:
            for point in sorted(self.series.points, key=lambda point: point.step):
                if point.done and tracker.name not in point.tracked:
                    tracker.log(point.step, trackers.values(point))
                    point.tracked.append(tracker.name)
                    self.series.save()

    @property
    def _own(self) -> bool:
        """Whether checkpoints are opened by a model of one's own, which alone knows their files."""
        return (self.how.get("model") or CHECKPOINT).split(":")[-1] != CHECKPOINT

    @property
    def _project(self) -> str:
        return self.how.get("track_project") or self.series.folder.resolve().name

    def _opened(self, checkpoint: Checkpoint) -> Model:
        spec = _filled(self.how.get("model") or CHECKPOINT, checkpoint)
        given = self.options.get("model_option") or {}
        filled = {n: _filled(v, checkpoint) if isinstance(v, str) else v for n, v in given.items()}
        options = {**self.options, "model_option": filled}
        if not self._own and not options.get("picture_cache"):
            options["picture_cache"] = self.series.folder / FEATURES
        if not self._own:
            options["model_option"] = {"by_tower": True, **filled}
        return evaluate.opened(spec, cast("Options", options))


class Loader:
    """Opens checkpoints, one of them ahead of its turn; holds those that are not let go."""

    def __init__(self, load: Callable[[Checkpoint], Model]) -> None:
        self._load = load
        self._held: tuple[Checkpoint, Model] | None = None
        self._ahead: tuple[Checkpoint, Future[Model]] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="weights")

    def take(self, checkpoint: Checkpoint) -> Model:
        """The checkpoint's model, which is held until another is taken or it is let go."""
        if self._held is not None and self._held[0] == checkpoint:
            return self._held[1]
        self._drop()
        model = self._read(checkpoint) or self._load(checkpoint)
        self._held = checkpoint, model
        return model

    def read_ahead(self, checkpoint: Checkpoint) -> None:
        """Begin to open a checkpoint in a thread, unless another one is being opened."""
        held = self._held is not None and self._held[0] == checkpoint
        if not held and self._ahead is None:
            self._ahead = checkpoint, self._pool.submit(self._load, checkpoint)

    def let_go(self, checkpoint: Checkpoint) -> None:
        """Give back what its model holds."""
        if self._held is not None and self._held[0] == checkpoint:
            self._drop()

    def close(self) -> None:
        """Give back everything; what is still being read is not waited for."""
        self._drop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, checkpoint: Checkpoint) -> Model | None:
        """What was read ahead, if it was this one and went well: beside another model there may
        have been too little memory."""
        if self._ahead is None:
            return None
        ours, future = self._ahead
        self._ahead = None
        try:
            model = future.result()
        except (InfimmEvalError, OSError):
            return None
        if ours == checkpoint:
            return model
        evaluate.close(model)
        return None

    def _drop(self) -> None:
        if self._held is not None:
            evaluate.close(self._held[1])
            self._held = None


def told(point: Point) -> Iterator[str]:
    """What is said of a checkpoint when a part of it is measured, a line for each figure."""
    verdicts = {(v["task"], v["shots"]): v for v in point.verdicts}
    for cell in point.cells:
        if cell["control"] is None:
            value = "nothing could be scored" if cell["value"] is None else f"{cell['value']:.1f}"
            part = f" of {cell['n']:,} samples" if "limit" in cell else ""
            said = page.sentence(verdicts.get((cell["task"], cell["shots"])))
            seed = f", seed {cell['seed']}" if cell["seed"] else ""
            yield (
                f"step {point.step:,}  {cell['title']}, {cell['shots']}-shot{seed}: "
                f"{value}{part}{f'  {said}' if said else ''}"
            )


def _filled(text: str, checkpoint: Checkpoint) -> str:
    return text.replace(CHECKPOINT, str(checkpoint.path)).replace(STEP, str(checkpoint.step))


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
    if (first := options.get("first")) is not None and (type(first) is not int or first < 1):
        raise UsageError(f"--first should be a number of samples from 1, not {first!r}")


_MATERIAL = Options.__annotations__.keys() - {
    *("no_companions", "base_url", "timeout", "batch_size", "picture_cache", "device"),
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
    if model := options.get("model"):
        material["model"] = model
    return Agreed(
        planned=options.get("planned", 50),
        alpha=options.get("alpha", 0.05),
        baseline=None if baseline is None else str(Path(baseline).resolve()),
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
