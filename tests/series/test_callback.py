"""A model in memory as a point of a series, from a script and from within a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

import infimm_eval as ie
from infimm_eval.models.fake import Fake
from infimm_eval.series.callback import SeriesCallback
from tests.models import families
from tests.series.training import RIGHT, Training


@pytest.mark.slow
def test_a_model_in_memory_is_a_point_of_the_series_that_a_watch_goes_on_with(
    tmp_path: Path,
) -> None:
    training = Training(tmp_path)
    how = {"data": "demo", "limit": 60, "output": training.output, "progress": False}
    first = ie.measure_step(Fake(RIGHT), 5, "vizwiz", best=True, planned=3, **how)
    assert [(point.step, point.state, point.path) for point in first.points] == [
        (5, "whole", "live")
    ]
    training.save(10, "zzz")
    series = training.watch(best=True, planned=3)
    assert [point.step for point in series.points] == [5, 10]
    assert series.regression is not None and series.regression.step == 10


@pytest.mark.slow
@pytest.mark.parametrize(("how", "measured"), [({}, [2, 4]), ({"steps": 3}, [3])])
def test_a_trainer_measures_what_it_trains(
    tmp_path: Path, how: dict[str, Any], measured: list[int]
) -> None:
    torch.manual_seed(0)
    module, processor = families.llava(families.TEMPLATE)
    ids = torch.tensor([1, *range(10, 20), 2])
    row = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
    callback = SeriesCallback(
        processor, "vizwiz", output=tmp_path / "series", data="demo", limit=3, progress=False,
        max_new_tokens={"": 2}, **how,
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=4, save_steps=2, per_device_train_batch_size=1,
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    Trainer(module, arguments, train_dataset=[row] * 4, callbacks=[callback]).train()
    assert callback.series is not None and module.training
    assert [point.step for point in callback.series.points] == measured
    fingerprints = [point.fingerprint for point in callback.series.points]
    assert len(set(fingerprints)) == len(measured), "the weights of each step are its own"


@pytest.mark.slow
def test_a_gated_trainer_stops_at_the_first_proven_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = {1: RIGHT, 2: "zzz"}

    class State:
        is_world_process_zero = True
        global_step = 1

    class Control:
        should_training_stop = False

    class Closing(Fake):
        def close(self) -> None:
            """As live models have it."""

    state, control = State(), Control()
    monkeypatch.setattr(
        "infimm_eval.series.callback.models.wrap", lambda *_: Closing(says[state.global_step])
    )
    callback = SeriesCallback(
        None, "vizwiz", output=tmp_path / "series", data="demo", limit=60, progress=False,
        best=True, gate=True, planned=2,
    )  # fmt: skip
    stopped = []
    for state.global_step in (1, 2):
        callback.on_save(None, state, control, model=None)
        stopped.append(control.should_training_stop)
    assert stopped == [False, True]
