"""A training run followed: what is measured, what is said, and what it survives."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import infimm_eval as ie
from infimm_eval import cli
from infimm_eval.cli import watching as watching_line
from infimm_eval.errors import UsageError
from infimm_eval.models.flamingo.build import DEMO
from infimm_eval.run import task_data
from infimm_eval.series import follow
from infimm_eval.series.folder import Agreed, SeriesFolder
from tests.series.training import MODEL, RIGHT, Noted, Training, answers, results


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def verdicts(series: ie.Series) -> dict[int, list[str]]:
    return {point.step: [v["verdict"] for v in point.verdicts] for point in series.points}


@pytest.mark.slow
def test_every_checkpoint_is_measured_and_judged_once(training: Training) -> None:
    for step in (200, 100, 300):
        training.save(step)
    how = {"baseline": training.baseline(), "planned": 4}
    series = training.watch(**how)
    assert [(point.step, point.state) for point in series.points] == [
        (step, "whole") for step in (100, 200, 300)
    ]
    assert len(training.asked) == 180
    body = training.series()
    assert body["schema"] == 1 and body["planned"] == 4 and body["alpha"] == 0.05
    point = body["points"][0]
    assert {"step", "path", "fingerprint", "cells", "verdicts"} <= point.keys()
    assert point["cells"][0]["value"] > 15
    assert point["verdicts"][0]["threshold"] > 2
    training.save(400)
    again = training.watch(**how)
    assert again.points[:3] == series.points and again.points[3].step == 400
    assert len(training.asked) == 240


@pytest.mark.slow
def test_the_page_holds_curve_verdict_best_and_what_turned(training: Training) -> None:
    training.save(1)
    training.save(2, "zzz")
    training.watch(best=True, planned=2)
    html = (training.output / "index.html").read_text()
    text = (training.output / "index.md").read_text()
    assert "<polyline" in html and "<script" not in html
    assert "Best: step 1 with" in text and "Best: step 1 with" in html
    assert "**ALARM" in text and "| turned |" in text and "What turned" in html
    assert "at most 5 % of trainings" in text


@pytest.mark.slow
def test_a_cheap_part_comes_first_for_all_and_is_part_of_the_rest(training: Training) -> None:
    for step in (1, 2):
        training.save(step)
    series = training.watch(first=20)
    order = [line.split()[0] for line in training.asked]
    assert order == ["step-1"] * 20 + ["step-2"] * 20 + ["step-1"] * 40 + ["step-2"] * 40
    ids = [line.split()[1] for line in training.asked]
    assert ids[:20] == ids[20:40], "the same samples of every checkpoint"
    assert set(ids[:20]).isdisjoint(ids[40:80])
    assert [point.cells[0]["n"] for point in series.points] == [60, 60]


SAVING = """
    def generate(self, requests):
        for answer in super().generate(requests):
            yield answer
            later = Path(__file__).parent / "run" / "step-9"
            if self.answered == 30 and self.step == "step-1" and not later.exists():
                later.mkdir()
                (later / "says.txt").write_text("no")
                (later / "DONE").touch()

def make("""


@pytest.mark.slow
def test_the_cheap_part_of_a_new_checkpoint_comes_before_the_rest_of_an_older_one(
    training: Training,
) -> None:
    model = training.place / "model.py"
    told, _, make = MODEL.partition("\ndef make(")
    told = told.replace("class Told(Fake)", "class Said(Fake)")
    model.write_text(f"{told}\nclass Told(Said):{SAVING}{make}")
    training.save(1)
    series = training.watch(first=20, every=0.0001)
    steps = [line.split()[0] for line in training.asked]
    assert steps[:20] == ["step-1"] * 20
    asked_before = steps.index("step-9")
    assert 30 <= asked_before < 60, "the rest of the older one broke off"
    assert steps[asked_before : asked_before + 20] == ["step-9"] * 20
    assert steps[asked_before + 20] == "step-1", "and goes on in its turn"
    assert len(set(training.asked)) == len(training.asked) == 120, "nothing is asked twice"
    assert [(point.step, point.state) for point in series.points] == [(1, "whole"), (9, "whole")]
    assert [point.cells[0]["n"] for point in series.points] == [60, 60]


@pytest.mark.slow
def test_the_newest_may_come_first(training: Training) -> None:
    for step in (1, 2):
        training.save(step)
    training.watch(newest_first=True)
    assert training.asked[0].startswith("step-2 ") and training.asked[-1].startswith("step-1 ")


@pytest.mark.slow
def test_a_proven_regression_ends_a_gated_watch_and_names_the_step(
    training: Training, capsys: pytest.CaptureFixture[str]
) -> None:
    for step, says in ((1, RIGHT), (2, "zzz"), (3, RIGHT)):
        training.save(step, says)
    words = training.command("--baseline", str(training.baseline()), "--gate", "--once")[3:]
    assert cli.main(words) == 1
    out = capsys.readouterr().out
    assert "Regression at step 2: vizwiz at 0 shots." in out and "ALARM" in out
    assert not any(line.startswith("step-3") for line in training.asked)
    assert cli.main([*words, "-q"]) == 1, "and it stays said"


@pytest.mark.slow
def test_equal_checkpoints_pass_the_gate(training: Training) -> None:
    training.save(1)
    training.save(2)
    words = training.command("--best", "--gate", "--once", "-q")[3:]
    assert cli.main(words) == 0


@pytest.mark.slow
def test_a_watch_that_stops_when_decided_asks_less_and_says_worse(training: Training) -> None:
    training.save(1, "zzz")
    how = {"stop_when_decided": True, "planned": 5, "limit": None}
    series = training.watch(baseline=training.baseline(limit=None), **how)
    assert series.points[0].state == "decided" and verdicts(series) == {1: ["worse"]}
    asked = len(training.asked)
    assert asked < 150 and series.points[0].cells[0]["n"] == asked
    assert series.regression is not None and series.regression.step == 1
    assert training.watch(baseline=training.baseline(limit=None), **how)
    assert len(training.asked) == asked


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"planned": 60}, "planned 50"),
        ({"alpha": 0.1}, "alpha 0.05"),
        ({"shots": [4]}, "shots [0]"),
        ({"best": False}, "best true"),
        ({"prompt_style": "instruct"}, "prompt-style null"),
        ({"limit": 3}, "limit 60"),
        ({"tolerance": ["2"]}, "tolerance"),
    ],
)
def test_what_was_agreed_stays_agreed(
    training: Training, change: dict[str, Any], named: str
) -> None:
    agreed = {"planned": 50, "alpha": 0.05, "best": True, "shots": [0]}
    training.watch(**agreed)
    with pytest.raises(UsageError) as told:
        training.watch(**{**agreed, **change})
    assert f"begun with {named}" in str(told.value)
    assert training.series()["planned"] == 50


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"gate": True}, "--gate needs"),
        ({"stop_when_decided": True}, "--stop-when-decided needs"),
        ({"baseline": "x", "best": True}, "leave one out"),
        ({"baseline": "nowhere"}, "nowhere does not exist"),
        ({"planned": 0}, "--planned"),
        ({"alpha": 1.0}, "--alpha"),
        ({"first": 0}, "--first"),
        ({"track": ["abacus"]}, "unknown tracker 'abacus'"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_asked(
    training: Training, how: dict[str, Any], named: str
) -> None:
    training.save(1)
    with pytest.raises(UsageError, match=named):
        training.watch(**how)
    assert not training.asked


@pytest.mark.slow
def test_a_baseline_that_lacks_a_benchmark_is_said_first(training: Training) -> None:
    with pytest.raises(UsageError, match="has no figure of vizwiz at 4 shots"):
        training.watch(shots=[0, 4], baseline=training.baseline())


@pytest.mark.slow
def test_a_baseline_under_other_settings_raises_no_alarm(training: Training) -> None:
    training.save(1, "zzz")
    series = training.watch(baseline=training.baseline(max_new_tokens={"": 3}))
    assert verdicts(series) == {1: ["incomparable"]}
    assert "max_new_tokens" in series.points[0].verdicts[0]["reason"]


def test_one_watch_at_a_time_writes_a_series(training: Training) -> None:
    series = SeriesFolder(training.output, Agreed())
    try:
        with pytest.raises(UsageError, match="written by another watch"):
            training.watch()
    finally:
        series.close()


def test_a_folder_without_any_checkpoint_is_said(training: Training) -> None:
    noted, training.folder = Noted(), training.place / "empty"
    training.folder.mkdir()
    training.watch(progress=noted)
    (line,) = noted.said
    assert "holds no checkpoint" in line


@pytest.mark.slow
def test_broken_checkpoints_are_said_skipped_and_tried_again(training: Training) -> None:
    training.save(1)
    broken = training.save(2)
    (broken / "says.txt").unlink()
    series = training.watch()
    assert [point.step for point in series.points] == [1]
    assert "says.txt" in series.skipped[str(broken)]
    assert cli.main([*training.command("--once", "-q")[3:]]) == 3
    (broken / "says.txt").write_text(RIGHT)
    assert [point.step for point in training.watch().points] == [1, 2]
    assert training.series()["skipped"] == []


@pytest.mark.slow
def test_one_that_vanishes_while_it_is_measured_is_said(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.save(1)
    gone = training.save(2)
    monkeypatch.setattr(follow.Loader, "read_ahead", lambda self, checkpoint: None)
    measured = follow.Watcher._measure

    def and_then(self: follow.Watcher, jobs: Any) -> None:
        if jobs[0].path == gone:
            shutil.rmtree(gone)
        measured(self, jobs)

    monkeypatch.setattr(follow.Watcher, "_measure", and_then)
    series = training.watch()
    assert [point.step for point in series.points] == [1]
    assert series.skipped == {str(gone): "it has vanished; it is tried again"}


@pytest.mark.slow
def test_one_that_vanishes_before_its_rest_is_asked_is_said(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = training.save(1)
    training.save(2)
    measured = follow.Watcher._measure

    def and_then(self: follow.Watcher, jobs: Any) -> None:
        measured(self, jobs)
        shutil.rmtree(gone, ignore_errors=True)

    monkeypatch.setattr(follow.Watcher, "_measure", and_then)
    series = training.watch(first=20)
    assert [(point.step, point.state) for point in series.points] == [(1, "first"), (2, "whole")]
    assert series.skipped == {str(gone): "it has vanished before all of it was asked"}


@pytest.mark.slow
def test_a_folder_that_is_away_for_a_while_is_said_and_waited_for(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.save(1)
    away = training.place / "away"
    sleep = time.sleep

    def slept(seconds: float) -> None:
        if not away.exists() and training.folder.exists():
            training.folder.rename(away)
        elif away.exists():
            away.rename(training.folder)
            training.save(5)
        sleep(0)

    monkeypatch.setattr(time, "sleep", slept)
    noted = Noted()
    series = training.watch(once=False, until_step=5, progress=noted)
    assert [point.step for point in series.points] == [1, 5] and not series.skipped
    assert any("it is looked for again" in line for line in noted.said)


@pytest.mark.slow
def test_one_that_is_written_to_while_it_is_read_is_read_again(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = training.folder / "checkpoint-10"
    shutil.copytree(DEMO, checkpoint)
    opened, rewritten = follow.evaluate.opened_ahead, []

    def and_written(*given: Any) -> Any:
        ready = opened(*given)
        if not rewritten:
            rewritten.append((checkpoint / "config.json").read_text())
            (checkpoint / "config.json").write_text(rewritten[0] + "\n")
        return ready

    monkeypatch.setattr(follow.evaluate, "opened_ahead", and_written)
    how = {**training.own, "once": True, "limit": 4, "progress": (noted := Noted())}
    del how["model"], how["model_option"]
    series = ie.watch(training.folder, "vizwiz", **how)
    assert [point.state for point in series.points] == ["whole"] and not series.skipped
    assert any("was written to since it was read" in line for line in noted.said)
    known = ie.load_model(str(checkpoint)).settings["fingerprint"]
    assert series.points[0].fingerprint == known


@pytest.mark.slow
def test_one_that_is_written_to_after_it_was_measured_is_said(training: Training) -> None:
    checkpoint = training.folder / "checkpoint-10"
    shutil.copytree(DEMO, checkpoint)
    how = {**training.own, "once": True, "limit": 4}
    del how["model"], how["model_option"]
    first = ie.watch(training.folder, "vizwiz", **how)
    for lines, changed in ((0, False), (1, True)):
        with (checkpoint / "config.json").open("a") as file:
            file.write("\n" * lines)
        series = ie.watch(training.folder, "vizwiz", **{**how, "progress": (noted := Noted())})
        assert any("since it was measured; its figures stand" in s for s in noted.said) == changed
        assert series.points == first.points


@pytest.mark.slow
def test_other_weights_between_the_first_samples_and_the_rest_are_asked_from_the_start(
    training: Training,
) -> None:
    checkpoint = training.save(1)
    stopped = follow.Watcher._measure

    class Enough(Exception):
        """Stands for a kill after the first part."""

    def once(self: follow.Watcher, jobs: Any) -> None:
        stopped(self, jobs)
        raise Enough

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow.Watcher, "_measure", once)
        with pytest.raises(Enough):
            training.watch(first=20)
    (checkpoint / "says.txt").write_text("no")
    series = training.watch(first=20, progress=(noted := Noted()))
    assert any("holds other weights than when it was begun" in line for line in noted.said)
    assert len(training.asked) == 20 + 60 and series.points[0].cells[0]["n"] == 60


@pytest.mark.slow
def test_a_series_whose_file_is_damaged_is_said_in_one_line(training: Training) -> None:
    training.save(1)
    training.watch()
    body = training.series()
    body["points"][0]["step"] = "one"
    (training.output / "series.json").write_text(json.dumps(body))
    with pytest.raises(UsageError, match=r"series\.json cannot be read"):
        training.watch()


@pytest.mark.slow
def test_files_that_are_still_written_are_waited_for(training: Training) -> None:
    checkpoint = training.save(1, whole=False)
    began = time.monotonic()
    assert [point.step for point in training.watch().points] == [1]
    assert time.monotonic() - began > follow.SETTLING
    assert (checkpoint / "DONE").exists() is False


@pytest.mark.slow
def test_a_checkpoint_of_the_demo_is_measured_and_a_cut_one_is_not(training: Training) -> None:
    whole, cut = training.folder / "checkpoint-10", training.folder / "checkpoint-20"
    shutil.copytree(DEMO, whole)
    shutil.copytree(DEMO, cut)
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    how = {**training.own, "once": True, "limit": 4}
    del how["model"], how["model_option"]
    series = ie.watch(training.folder, "vizwiz", **how)
    assert [point.step for point in series.points] == [10]
    assert series.points[0].fingerprint and series.points[0].cells[0]["n"] == 4
    assert series.skipped == {str(cut): "model.safetensors is cut off; it is looked at again"}
    assert (training.output / "features").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_kills_at_any_moment_lose_nothing_and_ask_nothing_twice(
    kills: int, training: Training
) -> None:
    for step, says in ((1, RIGHT), (2, "no"), (3, RIGHT)):
        training.save(step, says)
    base = str(training.baseline())
    command = training.command("--baseline", base, "--first", "20", "--once")
    command += ["--model-option", "delay=0.01"]
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, timeout=400)
    seconds = time.monotonic() - began
    undisturbed = results(training.output)
    shutil.rmtree(training.output)
    moments, kept = random.Random(kills), {}
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=-3, stderr=-3)
        time.sleep(moments.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.wait()
        now = answers(training.output)
        assert kept.items() <= now.items()
        kept = now
        if (training.output / "series.json").exists():
            assert training.series()["schema"] == 1
    before = len(training.asked)
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert len(training.asked) - before == 180 - len(kept)
    assert results(training.output) == undisturbed
    assert len(answers(training.output)) == 180


@pytest.mark.slow
def test_a_daemon_measures_what_comes_and_goes_on_a_signal(training: Training) -> None:
    training.save(1)
    process = subprocess.Popen(
        training.command("--every", "0.2"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(training, 1)
        saved = time.monotonic()
        training.save(2)
        wait_for(training, 2)
        assert time.monotonic() - saved < 10, "the first figure is there within seconds"
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 3
    assert said.splitlines()[-1].startswith("infimm-eval: stopped; every answer so far is kept")
    assert "step 1  VizWiz, 0-shot: " in out and "step 2  VizWiz" in out


def wait_for(training: Training, points: int) -> None:
    patience = time.monotonic() + 180
    while time.monotonic() < patience:
        if (training.output / "series.json").exists():
            measured = [p for p in training.series()["points"] if p["state"] == "whole"]
            page = training.output / "index.md"  # comes last
            if len(measured) >= points and f"| {points} |" in page.read_text():
                return
        time.sleep(0.1)
    raise AssertionError("nothing was measured")


@pytest.mark.slow
def test_a_watch_ends_when_its_last_step_is_measured(training: Training) -> None:
    for step in (1, 5, 9):
        training.save(step)
    series = training.watch(once=False, until_step=5)
    assert [point.step for point in series.points] == [1, 5]


PAGE = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
PAGE = re.sub(r"\\\n\s*", "", PAGE)  # a long command goes on in the next line
COMMANDS = re.findall(r"^    python -m infimm_eval (watch .*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_understood_as_it_stands(command: str) -> None:
    chosen = watching_line.watch.make_context("watch", command.split()[1:]).params
    assert str(chosen["folder"]).startswith("runs/")
    assert str(chosen["output"].parent) in ("series", "results")


def test_every_option_of_the_page_is_one() -> None:
    known = {name for option in watching_line.watch.params for name in option.opts}
    named = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--controls"}
    assert COMMANDS and named and named <= known


@pytest.mark.slow
def test_what_depends_on_data_alone_is_made_once_for_all_checkpoints(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    shrunk: list[str] = []
    looked: list[int] = []
    pool, webp, count = task_data.pool, task_data.thumbnails.webp, task_data.TaskData._counted

    def shrinking(image: Any) -> Any:
        shrunk.append(image.key)
        return webp(image)

    def counting(data: Any) -> int:
        looked.append(count(data))
        return looked[-1]

    def counted(samples: Any, task: str, seed: int) -> Any:
        read.append(task)
        return pool(samples, task, seed)

    monkeypatch.setattr(task_data, "pool", counted)
    monkeypatch.setattr(task_data.thumbnails, "webp", shrinking)
    monkeypatch.setattr(task_data.TaskData, "_counted", counting)
    for step in (1, 2):
        training.save(step)
    series = training.watch(shots=[4], limit=6, first=3)
    assert [point.state for point in series.points] == ["whole", "whole"]
    assert read == ["vizwiz"]
    assert looked == [3, 6], "the first three, then all"
    assert shrunk and len(set(shrunk)) == len(shrunk)
