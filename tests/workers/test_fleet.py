"""A fleet on a cluster of this machine's: one cluster for all of this file."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

if find_spec("ray") is None:
    pytest.skip("the extra 'ray' is not installed", allow_module_level=True)
os.environ["RAY_AUTH_MODE"] = "token"  # read when ray is imported

from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models import ModelOptions, load
from infimm_eval.run import run as run_plan
from infimm_eval.run.plan import PlanRequest, plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.types import Answer
from infimm_eval.workers.cluster import Cluster
from infimm_eval.workers.crew import FleetOptions
from infimm_eval.workers.fleet import Fleet
from infimm_eval.workers.recipe import Recipe
from tests.workers.asked import requests

MOODY = Path(__file__).with_name("moody.py")

QUICK: dict[str, Any] = {"seconds": 0.3, "floor": 3.0, "patience": 20.0, "workers": 2}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    handlers = signal.getsignal(signal.SIGTERM), sys.excepthook
    held = Cluster(None, cpus=4, gpus=0)
    assert (signal.getsignal(signal.SIGTERM), sys.excepthook) == handlers
    yield
    held.close()


@pytest.fixture
def fleet() -> Iterator[Callable[..., Fleet]]:
    opened: list[Fleet] = []

    def make(spec: str = "fake", told: list[str] | None = None, **chosen: Any) -> Fleet:
        own = chosen.pop("options", {})
        recipe = Recipe.of(spec, ModelOptions(options=own))
        options = FleetOptions(**{**QUICK, **chosen})
        say = (told if told is not None else []).append
        opened.append(Fleet(recipe, Cluster(None, cpus=0, gpus=0), options, say=say))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def moody(make: Callable[..., Fleet], folder: Path, delay: float = 0.0, **chosen: Any) -> Fleet:
    return make(f"{MOODY}:load", options={"folder": str(folder), "delay": delay}, **chosen)


def wanted(count: int = 60) -> dict[str, str]:
    return {answer.id: answer.text for answer in load("fake").generate(requests(count))}


def texts(answers: list[Answer]) -> dict[str, str]:
    found = {answer.id: answer.text for answer in answers}
    assert len(found) == len(answers), "an answer came twice"
    return found


def workers(fleet: Fleet) -> list[int]:
    return [place.who.pid for place in fleet._crew.live]


@pytest.mark.parametrize("paths", [True, False])
def test_a_fleet_answers_as_one_model_whether_pictures_are_read_or_sent(
    fleet: Callable[..., Fleet], paths: bool
) -> None:
    made = fleet(paths=paths)
    assert texts(list(made.generate(requests()))) == wanted()
    assert (made.statistics["fleet_pictures_put"] > 0) is not paths
    assert made.statistics["answers"] == 60


def test_options_are_ranked_by_a_fleet_as_by_one_model(fleet: Callable[..., Fleet]) -> None:
    asked = [_with_options(request) for request in requests(20)]
    made = fleet()
    assert made.rank is not None
    found = {answer.id: answer.logliks for answer in made.rank(asked)}
    assert found == {answer.id: answer.logliks for answer in load("fake").rank(asked)}


def _with_options(request: Any) -> Any:
    from dataclasses import replace

    return replace(request, options=("yes", "no", "a dog"))


def test_a_worker_that_is_killed_costs_no_answer(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    told: list[str] = []
    made, got = moody(fleet, tmp_path, delay=0.02, told=told), []
    for answer in made.generate(requests(120)):
        got.append(answer)
        if len(got) in (20, 60):
            os.kill(workers(made)[0], signal.SIGKILL)
    assert texts(got) == wanted(120)
    assert made.statistics["fleet_deaths"] == 2
    assert any("is lost" in line for line in told)


def test_a_poisonous_question_is_named_after_three_deaths_and_the_rest_is_answered(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    poison = requests()[30].id
    (tmp_path / "poison").write_text(poison)
    made = moody(fleet, tmp_path)
    found = {answer.id: answer for answer in made.generate(requests())}
    assert found.pop(poison).finish == "error"
    assert texts(list(found.values())) == {k: v for k, v in wanted().items() if k != poison}
    assert (tmp_path / "deaths").read_text().split() == [poison] * 3


def test_an_exception_is_the_error_of_its_question_and_costs_no_worker(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    bad = requests()[10].id
    (tmp_path / "bad").write_text(bad)
    made = moody(fleet, tmp_path)
    found = {answer.id: answer for answer in made.generate(requests())}
    assert len(found) == 60
    assert found[bad].notes["error"] == f"ValueError: cannot read {bad}"
    assert "fleet_deaths" not in made.statistics


def test_a_worker_that_hangs_is_given_up(fleet: Callable[..., Fleet], tmp_path: Path) -> None:
    (tmp_path / "hang").write_text(requests()[10].id)
    told: list[str] = []
    made = moody(fleet, tmp_path, delay=0.01, floor=1.5, told=told)
    assert texts(list(made.generate(requests()))) == wanted()
    counted = made.statistics
    assert counted.get("fleet_deaths") == 1 or counted["fleet_doubled"] > 0


def test_a_worker_of_other_weights_is_refused_by_name(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    told: list[str] = []
    made = moody(fleet, tmp_path, delay=0.02, told=told)
    (tmp_path / "mood").write_text("other")
    answers = made.generate(requests(120))
    got = [next(answers)]
    os.kill(workers(made)[0], signal.SIGKILL)
    got += answers
    assert texts(got) == wanted(120)
    assert made.statistics["fleet_refused"] == 1
    assert any("refused: " in line and "fingerprint" in line for line in told)


def test_what_a_slow_worker_has_is_given_to_idle_ones(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "mood").write_text("slow")
    made = moody(fleet, tmp_path, delay=0.05)
    began = time.monotonic()
    assert texts(list(made.generate(requests()))) == wanted()
    assert time.monotonic() - began < 20  # it alone would take 30
    assert made.statistics.get("fleet_differing", 0) == 0


def test_a_model_that_does_not_come_to_be_loaded_is_given_up(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "mood").write_text("stuck")
    told: list[str] = []
    made = moody(fleet, tmp_path, floor=1.0, loading=2.0, workers=1, told=told)
    assert texts(list(made.generate(requests(5)))) == wanted(5)
    assert "a worker's model does not come to be loaded" in told


def test_without_any_worker_a_run_waits_says_so_and_ends(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    told: list[str] = []
    made = moody(fleet, tmp_path, delay=0.05, workers=1, patience=1.0, told=told)
    answers = made.generate(requests())
    got = [next(answers)]
    for place in made._crew._places:
        place.vacate(1000)
    with pytest.raises(MachineryError, match="no worker for 1 s; what was answered is kept"):
        got += answers
    assert "no worker is left; waiting 1 s for one" in told


def test_a_mistake_in_the_models_name_is_told_as_in_one_process(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("MODEL = 7\n")
    with pytest.raises(UsageError, match=r"MODEL of .*own\.py should be a model"):
        fleet(str(tmp_path / "own.py"))


def test_a_file_of_ones_own_travels(
    fleet: Callable[..., Fleet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.py"
    own.write_text(MOODY.read_text())
    recipe = Recipe.of(f"{own}:load", ModelOptions(options={"folder": str(tmp_path)}))
    own.unlink()
    made = Fleet(recipe, Cluster(None, cpus=0, gpus=0), FleetOptions(**QUICK))
    try:
        assert texts(list(made.generate(requests(5)))) == wanted(5)
    finally:
        made.close()


def test_calls_that_are_broken_off_leave_nothing_for_the_next(fleet: Callable[..., Fleet]) -> None:
    made = fleet()
    answers = made.generate(requests())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert texts(list(made.generate(requests()))) == wanted()


def test_a_finished_run_equals_that_of_one_process(
    fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    asked = PlanRequest(tasks=["vqav2", "coco"], shots=(0, 2), limit=40)
    for name, model in (("alone", load("fake")), ("fleet", fleet())):
        chosen = plan(asked, data="demo", judge=None)
        run_plan(chosen, model, tmp_path / name, ProgressListener())
    assert _figures(tmp_path / "alone") == _figures(tmp_path / "fleet")
    (cell, *_) = json.loads((tmp_path / "fleet/results.json").read_text())["cells"]
    assert sum(share["answers"] for share in cell["workers"].values()) == 40


def _figures(folder: Path) -> str:
    """``results.json`` but for times and who answered."""
    body = json.loads((folder / "results.json").read_text())
    for cell in body["cells"]:
        for name in ("seconds", "statistics", "workers"):
            del cell[name]
        del cell["settings"]["code"]["device"]
    return json.dumps(body)
