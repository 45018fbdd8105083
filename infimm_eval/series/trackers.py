"""Figures of a series in other people's trackers: one adapter of init, ``log(step)`` and finish.

Knows no benchmark; each tracker's package is imported only where it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from infimm_eval.errors import UsageError, unforeseen, unknown
from infimm_eval.series.folder import Point, SeriesFolder

RUN_ID = "infimm-eval"
"""The run's id within its project: the same after every restart."""


class Tracker(Protocol):
    """A run in somebody's tracker, opened so that a restart goes on with it."""

    name: str

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Figures at a training step."""

    def finish(self) -> None:
        """Everything is written when this returns."""


@dataclass(frozen=True, slots=True)
class Trackers:
    """Those of one watch.  One that fails costs no figure: that is said, and it is told again."""

    written: Sequence[Tracker]
    series: SeriesFolder
    note: Callable[[str], None]

    def tell(self) -> None:
        """Give every tracker the measured checkpoints that it does not have yet."""
        for tracker in self.written:
            new = [p for p in self.series.points if p.done and tracker.name not in p.tracked]
            for point in sorted(new, key=lambda point: point.step):
                if not self._tried(tracker, partial(tracker.log, point.step, values(point))):
                    break
                point.tracked.append(tracker.name)
                self.series.save()

    def finish(self) -> None:
        """Let each write the rest."""
        for tracker in self.written:
            self._tried(tracker, tracker.finish)

    def _tried(self, tracker: Tracker, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001  whatever it is, it is the tracker's
            self.note(f"--track {tracker.name} failed ({unforeseen(error)}); it is told again")
            return False
        return True


@contextmanager
def opened(
    names: Iterable[str], series: SeriesFolder, project: str | None, note: Callable[[str], None]
) -> Iterator[Trackers]:
    """The trackers that are named, finished at the end; the ``project`` is called as the series'
    folder unless given.  ``UsageError`` for one that nobody knows, that is not installed or does
    not open."""
    named = project or series.folder.resolve().name
    written = [_opened(name, series.folder.resolve(), named) for name in names]
    trackers = Trackers(written, series, note)
    try:
        yield trackers
    finally:
        trackers.finish()


def _opened(name: str, folder: Path, project: str) -> Tracker:
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    try:
        return TRACKERS[name](folder, project)
    except ImportError as error:
        raise UsageError(
            f"--track {name}: {error.name or name} is not installed; "
            f"pip install 'infimm-eval[{name}]'"
        ) from error
    except Exception as error:
        raise UsageError(f"--track {name} does not open ({unforeseen(error)})") from error


def values(point: Point) -> dict[str, float]:
    """The figures of a checkpoint by name: ``vqav2/4-shot``, its interval's ends, and, of a
    verdict, the difference and whether it is an alarm."""
    found: dict[str, float] = {}
    for cell in point.cells:
        if cell["control"] is not None or cell["value"] is None:
            continue
        name = f"{cell['task'].replace(':', '-')}/{cell['shots']}-shot"
        name += f"/seed-{cell['seed']}" if cell["seed"] else ""
        found[name] = float(cell["value"])
        if cell["ci95"]:
            found[f"{name}/ci95-low"], found[f"{name}/ci95-high"] = map(float, cell["ci95"])
    for verdict in point.verdicts:
        name = f"{verdict['task'].replace(':', '-')}/{verdict['shots']}-shot"
        if verdict.get("difference") is not None:
            found[f"{name}/difference"] = float(verdict["difference"])
            found[f"{name}/alarm"] = float(verdict["verdict"] == "worse")
    return found


class TensorBoard:
    """Event files in the folder ``tensorboard`` of the series."""

    name = "tensorboard"

    def __init__(self, folder: Path, project: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / self.name))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar a figure."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        """Close the file."""
        self._writer.close()


class Trackio:
    """A run of trackio's, in its own folder on this machine (``TRACKIO_DIR``)."""

    name = "trackio"

    def __init__(self, folder: Path, project: str) -> None:
        import trackio

        self._run = trackio.init(project=project, name=RUN_ID, resume="allow", embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One line of all figures."""
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        """Wait until it is stored."""
        self._run.finish()


class WeightsAndBiases:
    """A run of W&B's in the folder of the series; offline where its mode says so."""

    name = "wandb"

    def __init__(self, folder: Path, project: str) -> None:
        import wandb

        self._run = wandb.init(project=project, id=f"{RUN_ID}-{project}", resume="allow",
                               dir=str(folder))  # fmt: skip
        self._run.define_metric("training_step")
        self._run.define_metric("*", step_metric="training_step")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """The training step is a figure of its own: W&B's own steps never go back."""
        self._run.log({**values, "training_step": step})

    def finish(self) -> None:
        """Write or send the rest."""
        self._run.finish()


class MLflow:
    """A run of MLflow's, where its tracking address says; in the series' folder else."""

    name = "mlflow"

    def __init__(self, folder: Path, project: str) -> None:
        import os

        from mlflow.tracking import MlflowClient

        where = None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{folder}/mlflow.db"
        self._client: Any = MlflowClient(tracking_uri=where)
        known = self._client.get_experiment_by_name(project)
        experiment = known.experiment_id if known else self._client.create_experiment(project)
        runs = self._client.search_runs([experiment], f"tags.`mlflow.runName` = '{RUN_ID}'")
        self._id: str = (
            runs[0].info.run_id
            if runs
            else self._client.create_run(experiment, run_name=RUN_ID).info.run_id
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A metric a figure."""
        for name, value in values.items():
            self._client.log_metric(self._id, name, value, step=step)

    def finish(self) -> None:
        """Mark it finished."""
        self._client.set_terminated(self._id)


TRACKERS: Mapping[str, Callable[[Path, str], Tracker]] = {
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}
"""Another one is one more value here."""
