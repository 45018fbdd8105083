"""A fleet on a cluster of this machine's: one cluster for all of this file."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
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
from infimm_eval.workers.calls import pictures
from infimm_eval.workers.cluster import Cluster
from infimm_eval.workers.crew import FleetOptions
from infimm_eval.workers.fleet import Fleet
from infimm_eval.workers.recipe import Recipe
from infimm_eval.workers.scratch import PREFIX
from tests.workers.asked import requests

MOODY = Path(__file__).with_name("moody.py")

QUICK: dict[str, Any] = {"seconds": 0.3, "floor": 3.0, "patience": 60.0, "workers": 2}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    handlers = signal.getsignal(signal.SIGTERM), sys.excepthook
    held = Cluster(None, cpus=4, gpus=0)
    assert (signal.getsignal(signal.SIGTERM), sys.excepthook) == handlers
    yield
    held.close()


Make = Callable[..., Fleet]


def _fleet(recipe: Recipe, told: list[str], **chosen: Any) -> Fleet:
    options = FleetOptions(**{**QUICK, **chosen})
    return Fleet(recipe, Cluster(None, cpus=0, gpus=0), options, say=told.append)


@pytest.fixture
def make() -> Iterator[Make]:
    """Fleets that end with the test."""
    opened: list[Fleet] = []

    def made(recipe: Recipe, told: list[str], **chosen: Any) -> Fleet:
        opened.append(_fleet(recipe, told, **chosen))
        return opened[-1]

    yield made
    for each in opened:
        each.close()


class Moody:
    """A fleet of two, and the folder and the lines through which it is spoken to."""

    def __init__(self, make: Make, folder: Path, **chosen: Any) -> None:
        self.folder, self.told = folder, list[str]()
        options = {"folder": str(folder), "delay": chosen.pop("delay", 0.01)}
        recipe = Recipe.of(f"{MOODY}:load", ModelOptions(options=options))
        self.model = make(recipe, self.told, **chosen)

    def answers(self, count: int = 60) -> list[Answer]:
        return list(self.model.generate(requests(count)))

    def counted(self, what: str) -> float:
        return self.model.statistics.get(f"fleet_{what}", 0)

    def kill(self) -> None:
        os.kill(self.model._crew.live[0].who.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def moody(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Moody:
    return Moody(_fleet, tmp_path_factory.mktemp("moody"))


def wanted(count: int = 60) -> dict[str, str]:
    return {answer.id: answer.text for answer in load("fake").generate(requests(count))}


def texts(answers: list[Answer]) -> dict[str, str]:
    found = {answer.id: answer.text for answer in answers}
    assert len(found) == len(answers), "an answer came twice"
    return found


@pytest.mark.slow
def test_a_fleet_answers_as_one_model(moody: Moody) -> None:
    assert texts(moody.answers()) == wanted()
    assert moody.model.statistics["answers"] == 60


@pytest.mark.slow
def test_options_are_ranked_by_a_fleet_as_by_one_model(moody: Moody) -> None:
    asked = [replace(request, options=("yes", "no", "a dog")) for request in requests(20)]
    assert moody.model.rank is not None
    found = {answer.id: answer.logliks for answer in moody.model.rank(asked)}
    assert found == {answer.id: answer.logliks for answer in load("fake").rank(asked)}


@pytest.mark.slow
def test_a_run_that_is_finished_equals_that_of_one_process(moody: Moody, tmp_path: Path) -> None:
    asked = PlanRequest(tasks=["vqav2"], shots=(0, 2), limit=20)
    for name, model in (("alone", load("fake")), ("fleet", moody.model)):
        chosen = plan(asked, data="demo", judge=None)
        run_plan(chosen, model, tmp_path / name, ProgressListener())
    assert _figures(tmp_path / "alone") == _figures(tmp_path / "fleet")
    (cell, *_) = json.loads((tmp_path / "fleet/results.json").read_text())["cells"]
    assert sum(share["answers"] for share in cell["workers"].values()) == 20


@pytest.mark.slow
def test_an_exception_is_the_error_of_its_question_and_costs_no_worker(moody: Moody) -> None:
    before, bad = moody.counted("deaths"), requests()[10].id
    (moody.folder / "bad").write_text(bad)
    found = {answer.id: answer for answer in moody.answers()}
    (moody.folder / "bad").unlink()
    assert len(found) == 60
    assert found[bad].notes["error"] == f"ValueError: cannot read {bad}"
    assert moody.counted("deaths") == before


@pytest.mark.slow
def test_calls_that_are_broken_off_leave_nothing_for_the_next(moody: Moody) -> None:
    answers = moody.model.generate(requests())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert texts(moody.answers()) == wanted()


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_answer(moody: Moody) -> None:
    before, got = moody.counted("deaths"), []
    for answer in moody.model.generate(requests(120)):
        got.append(answer)
        if len(got) == 20:
            moody.kill()
    assert texts(got) == wanted(120)
    assert moody.counted("deaths") == before + 1
    assert any("is lost: The actor is dead because" in line for line in moody.told)


@pytest.mark.slow
def test_pictures_that_a_worker_cannot_read_are_sent(make: Make, tmp_path: Path) -> None:
    sent = Moody(make, tmp_path, paths=False)
    assert texts(sent.answers()) == wanted()
    shown = {picture.digest() for picture in pictures(requests())}
    assert sent.counted("pictures_put") == len(shown)


@pytest.mark.slow
def test_a_poisonous_question_is_named_after_three_deaths_and_the_rest_is_answered(
    moody: Moody,
) -> None:
    poison = requests()[30].id
    (moody.folder / "poison").write_text(poison)
    found = {answer.id: answer for answer in moody.answers()}
    (moody.folder / "poison").unlink()
    assert found.pop(poison).finish == "error"
    assert texts(list(found.values())) == {k: v for k, v in wanted().items() if k != poison}
    assert (moody.folder / "deaths").read_text().split() == [poison] * 3


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up(moody: Moody) -> None:
    before = moody.counted("deaths") + moody.counted("doubled")
    (moody.folder / "hang").write_text(requests()[10].id)
    assert texts(moody.answers()) == wanted()
    assert moody.counted("deaths") + moody.counted("doubled") > before


@pytest.mark.slow
def test_a_worker_of_other_weights_is_refused_by_name(moody: Moody) -> None:
    (moody.folder / "mood").write_text("other")
    answers = moody.model.generate(requests(120))
    got = [next(answers)]
    moody.kill()
    got += answers
    assert texts(got) == wanted(120)
    deadline = time.monotonic() + 60
    while not moody.counted("refused") and time.monotonic() < deadline:
        moody.model._crew.tend()
        time.sleep(0.1)
    assert any("refused: " in line and "fingerprint" in line for line in moody.told)


@pytest.mark.slow
def test_what_a_slow_worker_has_is_given_to_idle_ones(make: Make, tmp_path: Path) -> None:
    (tmp_path / "mood").write_text("slow")
    made = Moody(make, tmp_path, delay=0.05)
    began = time.monotonic()
    assert texts(made.answers()) == wanted()
    assert time.monotonic() - began < 20  # the slow one alone would take 30
    assert made.counted("differing") == 0


@pytest.mark.slow
def test_a_model_that_does_not_come_to_be_loaded_is_given_up(make: Make, tmp_path: Path) -> None:
    (tmp_path / "mood").write_text("stuck")
    made = Moody(make, tmp_path, floor=1.0, loading=2.0, workers=1)
    assert texts(made.answers(5)) == wanted(5)
    assert "a worker's model does not come to be loaded" in made.told


@pytest.mark.slow
def test_without_any_worker_a_run_says_so_waits_and_ends(make: Make, tmp_path: Path) -> None:
    made = Moody(make, tmp_path, delay=0.05, workers=1, patience=30)
    made.model._crew._options = FleetOptions(**{**QUICK, "workers": 1, "patience": 1.0})
    answers = made.model.generate(requests())
    next(answers)
    made.model._crew.live[0].vacate(1000)
    with pytest.raises(MachineryError, match="no worker for 1 s; what was answered is kept"):
        list(answers)
    assert "no worker is left; waiting 1 s for one" in made.told


@pytest.mark.slow
def test_a_mistake_in_the_models_name_is_told_as_in_one_process(make: Make, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("MODEL = 7\n")
    with pytest.raises(UsageError, match=r"MODEL of .*own\.py should be a model"):
        make(Recipe.of(str(tmp_path / "own.py"), ModelOptions()), [])


@pytest.mark.slow
def test_a_file_of_ones_own_travels(make: Make, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(MOODY.read_text())
    recipe = Recipe.of(f"{own}:load", ModelOptions(options={"folder": str(tmp_path)}))
    own.unlink()
    made = make(recipe, [])
    assert texts(list(made.generate(requests(5)))) == wanted(5)


def _figures(folder: Path) -> str:
    """``results.json`` but for times and who answered."""
    body = json.loads((folder / "results.json").read_text())
    for cell in body["cells"]:
        for name in ("seconds", "statistics", "workers"):
            del cell[name]
        del cell["settings"]["code"]["device"]
    return json.dumps(body)


@pytest.mark.slow
def test_a_picture_is_encoded_once_by_all_workers_and_nothing_is_left_of_it(
    make: Make,
) -> None:
    asked = requests(120, shots=4)
    shown = {image.digest() for request in asked for image in pictures([request])}
    name = secrets.token_hex(4)
    fleet = make(Recipe.of("demo", ModelOptions(), shared=name), [])
    assert len(list(fleet.generate(asked))) == len(asked)
    counted = fleet.statistics
    folder = Path(tempfile.gettempdir(), f"{PREFIX}{name}")
    assert folder.exists()
    assert counted["pictures_from_disk"] > 0
    assert counted["pictures_encoded"] <= 1.1 * len(shown)
    fleet.close()
    assert not folder.exists()
