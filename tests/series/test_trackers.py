"""Figures in other people's trackers, read back from what each writes to disk."""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infimm_eval.errors import UsageError
from infimm_eval.series import trackers
from infimm_eval.series.folder import Agreed, Point, SeriesFolder
from tests.series.training import Noted, Training


def cell(value: float) -> dict[str, Any]:
    return {
        "task": "vqav2", "shots": 4, "seed": 0, "control": None, "value": value,
        "ci95": [value - 2, value + 2],
    }  # fmt: skip


def point(step: int, value: float) -> Point:
    verdict = {"task": "vqav2", "shots": 4, "verdict": "worse", "difference": -3.0}
    return Point(
        step=step, path=f"/run/step-{step}", run=f"step-{step}", state="whole",
        cells=[cell(value)], verdicts=[verdict],
    )  # fmt: skip


def test_a_checkpoint_s_figures_have_names_that_every_tracker_takes() -> None:
    assert trackers.values(point(5, 61.5)) == {
        "vqav2/4-shot": 61.5,
        "vqav2/4-shot/ci95-low": 59.5,
        "vqav2/4-shot/ci95-high": 63.5,
        "vqav2/4-shot/difference": -3.0,
        "vqav2/4-shot/alarm": 1.0,
    }


def logged_twice(name: str, folder: Path) -> None:
    """Two processes' worth: the second goes on with the first's run."""
    for step, value in ((100, 50.0), (200, 52.5)):
        series = SeriesFolder(folder, Agreed())
        with trackers.opened([name], series, "project", print) as opened:
            (tracker,) = opened.written
            tracker.log(step, trackers.values(point(step, value)))
        series.close()


def test_tensorboard_has_every_figure_at_its_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (group interop)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged_twice("tensorboard", tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    scalars = read.Scalars("vqav2/4-shot")
    assert [(one.step, one.value) for one in scalars] == [(100, 50.0), (200, 52.5)]
    assert "vqav2/4-shot/alarm" in read.Tags()["scalars"]


def test_trackio_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="trackio is not installed (group interop)")
    logged_twice("trackio", tmp_path / "series")
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as db:
        rows = db.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
    assert [(name, step) for name, step, _ in rows] == [
        (trackers.RUN_ID, 100),
        (trackers.RUN_ID, 200),
    ]
    assert '"vqav2/4-shot": 52.5' in str(rows[1][2]).replace('":52.5', '": 52.5')


def test_wandb_offline_keeps_one_run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (group interop)")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged_twice("wandb", tmp_path)
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert {file.stem for file in files} == {f"run-{trackers.RUN_ID}-project"}
    patience = time.monotonic() + 20  # its own process writes what is left
    while not all(b"vqav2/4-shot" in file.read_bytes() for file in files):
        assert time.monotonic() < patience
        time.sleep(0.1)


@pytest.mark.filterwarnings("ignore")  # its own, about the database library that it uses
def test_mlflow_has_every_figure_in_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pytest.importorskip("mlflow", reason="mlflow is not installed (group interop)")
    from mlflow.tracking import MlflowClient

    logged_twice("mlflow", tmp_path)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("project").experiment_id
    (run,) = client.search_runs([experiment])
    history = client.get_metric_history(run.info.run_id, "vqav2/4-shot")
    assert [(one.step, one.value) for one in history] == [(100, 50.0), (200, 52.5)]
    assert run.info.status == "FINISHED"


def test_a_watch_tells_its_trackers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, set[str]]] = []

    class Remembers:
        name = "remembers"

        def __init__(self, folder: Path, project: str) -> None:
            assert project == "series"

        def log(self, step: int, values: dict[str, float]) -> None:
            told.append((step, set(values)))

        def finish(self) -> None:
            told.append((-1, set()))

    monkeypatch.setattr(trackers, "TRACKERS", {"remembers": Remembers})
    training = Training(tmp_path)
    training.save(7)
    for _ in range(2):
        training.watch(track=["remembers"], limit=6)
    names = {"vizwiz/0-shot", "vizwiz/0-shot/ci95-low", "vizwiz/0-shot/ci95-high"}
    assert told == [(7, names), (-1, set()), (-1, set())]


def test_a_tracker_that_is_not_installed_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    series = SeriesFolder(tmp_path, Agreed())
    try:
        with pytest.raises(UsageError, match=r"wandb is not installed; .*infimm-eval\[wandb\]"):
            trackers.opened(["wandb"], series, "project", print).__enter__()
    finally:
        series.close()


@pytest.mark.slow
def test_a_tracker_that_fails_costs_no_figure_and_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    away = [True]

    class Fails:
        name = "fails"

        def __init__(self, folder: Path, project: str) -> None:
            pass

        def log(self, step: int, values: dict[str, float]) -> None:
            if away[0]:
                raise ConnectionError("no route to host")
            told.append(step)

        def finish(self) -> None:
            if away[0]:
                raise ConnectionError("no route to host")

    monkeypatch.setattr(trackers, "TRACKERS", {"fails": Fails})
    training = Training(tmp_path)
    for step in (1, 2):
        training.save(step)
    noted = Noted()
    series = training.watch(track=["fails"], limit=6, progress=noted)
    assert [point.state for point in series.points] == ["whole", "whole"] and not told
    assert (
        "--track fails failed (ConnectionError: no route to host); it is told again" in noted.said
    )
    away[0] = False
    training.watch(track=["fails"], limit=6)
    assert told == [1, 2]


def test_a_tracker_that_does_not_open_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(folder: Path, project: str) -> Any:
        raise RuntimeError("api_key not configured")

    monkeypatch.setattr(trackers, "TRACKERS", {"wandb": refuses})
    training = Training(tmp_path)
    with pytest.raises(UsageError, match=r"--track wandb does not open \(RuntimeError: api_key"):
        training.watch(track=["wandb"])
