"""The loop of a watch: look at the folder, measure what is ready, say what came of it, wait.

Finds, opens and retries; how a checkpoint is asked and judged is others' business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from infimm_eval.errors import InfimmEvalError, UsageError, first_line
from infimm_eval.logs import fingerprint
from infimm_eval.run import evaluate
from infimm_eval.run.stream import Interrupted
from infimm_eval.series import page, trackers
from infimm_eval.series.checkpoints import Checkpoint, Look, find, lacks, look, material
from infimm_eval.series.folder import FEATURES, LIVE, Point, first_regression
from infimm_eval.series.loader import Loader
from infimm_eval.series.measuring import Measuring

if TYPE_CHECKING:
    from infimm_eval.run.plan import Options
    from infimm_eval.series.watch import WatchOptions
    from infimm_eval.types import Model

CHECKPOINT, STEP = "{checkpoint}", "{step}"
"""What stands for a checkpoint's folder and step in a model's name and options."""

EVERY = 1.0
"""Seconds between two looks at the folder, unless given."""

SETTLING = 1.0
"""Seconds between the two looks at a checkpoint that nothing declares finished."""

NOTHING = "holds no checkpoint: a folder whose name tells its step, step-500 or checkpoint-500"

PATIENCE = 60.0
"""Seconds after which what could not be opened is tried again, unless its files change."""


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
    _read_as: dict[Path, Look] = field(default_factory=dict)
    """What lay in a checkpoint when it was last begun to be read."""
    _seen_again: dict[Path, float] = field(default_factory=dict)
    """When what was measured was last looked at."""
    _failed: dict[Path, tuple[Look, float, float]] = field(default_factory=dict)
    """Checkpoints that could not be measured: as they were, when, and how long to wait."""
    _loader: Loader = field(init=False)
    _next_look: float = 0.0
    """When the folder is looked at again while a checkpoint is asked."""

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()  # however it is named the next time
        self.series = self.measuring.series
        self.listener = self.measuring.listener
        self._loader = Loader(self._opened)

    def follow(self) -> None:
        """Until the end that was agreed on; a checkpoint at a time, the cheap parts first."""
        if not self._own:
            self._loader.warm()
        names, project = self.how.get("track") or (), self.how.get("track_project")
        try:
            with trackers.opened(names, self.series, project, self.listener.note) as written:
                self._follow(written)
        finally:
            self._loader.close()

    def _follow(self, written: trackers.Trackers) -> None:
        written.tell()
        self.measuring.open()
        page.write(self.measuring.tables)
        while not self._over():
            jobs = self._jobs()
            if jobs:
                self._measure(jobs)
                written.tell()
            elif self._unsettled:
                time.sleep(SETTLING)
            elif self.how.get("once") or self._reached():
                if not self._found:
                    self.listener.note(f"{self.folder} {NOTHING}")
                return
            else:
                time.sleep(self._every)

    @property
    def _every(self) -> float:
        return self.how.get("every") or EVERY

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
        self._unsettled = False
        try:
            self._found = find(self.folder, any_files=self._own)
        except UsageError as error:
            if not self._looks:
                raise
            self._leave(self.folder, "the folder", f"{error}; it is looked for again")
            return []
        self.series.skipped.pop(str(self.folder), None)
        self._say_what_vanished()
        last = self.how.get("until_step")
        ready = [c for c in self._found if (last is None or c.step <= last) and self._ready(c)]
        ready.sort(key=lambda c: -c.step if self.how.get("newest_first") else c.step)
        return sorted(ready, key=lambda c: self._state(c) == "first")

    def _cheaper_is_due(self) -> bool:
        """Whether a checkpoint has become whole of which nothing is measured: its cheap part comes
        before the rest of another one."""
        if time.monotonic() < self._next_look:
            return False
        jobs = self._jobs()
        self._next_look = time.monotonic() + self._every
        return bool(jobs) and self._state(jobs[0]) == "begun"

    def _state(self, checkpoint: Checkpoint) -> str:
        known = self.series.known(checkpoint.step, str(checkpoint.path))
        return known.state if known else "begun"

    def _ready(self, checkpoint: Checkpoint) -> bool:
        """Whether there is something to ask of it and it is whole."""
        known = self.series.known(checkpoint.step, str(checkpoint.path))
        if known is not None and known.done:
            self._look_again(known)
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

    def _look_again(self, point: Point) -> None:
        """Say, now and then, where a checkpoint may not be what was measured any more."""
        path, now = Path(point.path), time.monotonic()
        if not point.files or now - self._seen_again.get(path, -PATIENCE) < PATIENCE:
            return
        self._seen_again[path] = now
        there = material(look(path))
        if there and fingerprint(sorted(there.items())) != point.files:
            self._seen_again[path] = float("inf")  # once is enough
            self.listener.note(
                f"step {point.step:,} ({path}) was written to since it was measured; its figures "
                "stand. If it holds other weights now, begin another series with another --output"
            )

    def _say_what_vanished(self) -> None:
        """Of checkpoints whose rest was still to be asked."""
        there = {str(one.path) for one in self._found}
        for point in self.series.points:
            if point.state == "first" and point.path not in there and point.path != LIVE:
                reason = "it has vanished before all of it was asked"
                self._leave(Path(point.path), f"step {point.step:,}", reason)

    def _skip(self, checkpoint: Checkpoint, reason: str) -> None:
        self._leave(checkpoint.path, f"step {checkpoint.step:,}", reason)

    def _leave(self, path: Path, what: str, reason: str) -> None:
        """Say once why something is left alone."""
        if self.series.skipped.get(str(path)) != reason:
            self.series.skipped[str(path)] = reason
            self.series.save()
            self.listener.note(f"{what} ({path}) is left out: {reason}")

    def _measure(self, jobs: Sequence[Checkpoint]) -> None:
        """The next part of the first job, the weights of the one after it being read meanwhile."""
        checkpoint = jobs[0]
        fresh = not self._loader.holds(checkpoint)
        try:
            model = self._loader.take(checkpoint)
        except (InfimmEvalError, OSError) as error:
            self._fail(checkpoint, error)
            return
        if fresh and not self._own and self._rewritten(checkpoint):
            self._loader.forget(checkpoint)
            return
        if len(jobs) > 1:
            self._loader.read_ahead(jobs[1])
        point = self.series.point(checkpoint.step, str(checkpoint.path))
        try:
            self.measuring.next_part(point, model, self._cheaper_is_due)
        except Interrupted:
            self.listener.note(f"step {checkpoint.step:,}: the rest waits for a new checkpoint")
            return
        except UsageError:
            raise
        except (InfimmEvalError, OSError) as error:
            self._fail(checkpoint, error)
            self._loader.let_go(checkpoint)
            return
        if not self._own:
            read_as = material(self._read_as[checkpoint.path])
            point.files = fingerprint(sorted(read_as.items()))
        self._failed.pop(checkpoint.path, None)
        self.series.skipped.pop(str(checkpoint.path), None)
        self.series.save()
        if point.done:
            self._loader.let_go(checkpoint)
        for line in told(point):
            self.say(line)
        page.write(self.measuring.tables)

    def _rewritten(self, checkpoint: Checkpoint) -> bool:
        """Whether its files changed since they were read: it settles anew, and is read again."""
        now = look(checkpoint.path)
        if not now or material(now) == material(self._read_as[checkpoint.path]):
            return False
        self.listener.note(
            f"step {checkpoint.step:,} ({checkpoint.path}) was written to since it was read; it "
            "is read again"
        )
        self._looks[checkpoint.path] = now, time.monotonic()
        return True

    def _fail(self, checkpoint: Checkpoint, error: Exception) -> None:
        there = look(checkpoint.path)
        reason = first_line(error) if there else "it has vanished"
        _, _, before = self._failed.get(checkpoint.path, (there, 0.0, PATIENCE / 2))
        self._failed[checkpoint.path] = there, time.monotonic(), min(2 * before, 3600.0)
        self._skip(checkpoint, f"{reason}; it is tried again")

    @property
    def _own(self) -> bool:
        """Whether checkpoints are opened by a model of one's own, which alone knows their files."""
        return (self.how.get("model") or CHECKPOINT).split(":")[-1] != CHECKPOINT

    def _opened(self, checkpoint: Checkpoint, standing: Model | None) -> Callable[[], Model]:
        self._read_as[checkpoint.path] = look(checkpoint.path)
        spec = _filled(self.how.get("model") or CHECKPOINT, checkpoint)
        given = self.options.get("model_option") or {}
        filled = {n: _filled(v, checkpoint) if isinstance(v, str) else v for n, v in given.items()}
        options = {**self.options, "model_option": filled}
        if not self._own and not options.get("picture_cache"):
            options["picture_cache"] = self.series.folder / FEATURES
        if not self._own:
            options["model_option"] = {"by_tower": True, **filled}
        return evaluate.opened_ahead(spec, cast("Options", options), standing)


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
