"""What a finished cell says of itself, and what stays of it whatever comes after."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.scorers import caption
from infimm_eval.types import (
    Answer,
    Outcome,
    Request,
    Row,
    Source,
    Summary,
    Task,
)
from tests.conftest import Listener
from tests.run.models import Counting, Run


@dataclass(frozen=True)
class Rows:
    """A reader of rows that need no files."""

    found: Sequence[Row]
    expects = ("nothing",)

    def files(self, root: Path) -> tuple[Path, ...]:
        return ()

    def rows(self, root: Path) -> Iterator[Row]:
        return iter(self.found)


def test_metrics_of_ones_own_see_every_outcome_as_a_sequence(run: Run) -> None:
    seen: list[Sequence[Outcome]] = []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        seen.append(outcomes)
        return Summary(metrics={"accuracy": 50.0})

    task = replace(registry.load("vqav2"), metrics=metrics)
    run(task, model=Fake("yes", error_every=3), limit=9)
    for outcomes in seen[1:]:  # the first are made up, to see which figures the metrics give
        every = list(outcomes)
        assert [outcome.score.value is None for outcome in every] == [False, False, True] * 3
        assert (len(outcomes), outcomes[-1], outcomes[1:5]) == (9, every[-1], every[1:5])
    assert len(seen) == 1 + len(task.scorers)


def test_a_limited_run_says_so(run: Run) -> None:
    (cell,) = run("vqav2", limit=4)
    assert (cell.limit, cell.complete, cell.n) == (4, False, 4)


@pytest.mark.slow
def test_document_frequency_is_the_full_sets_also_under_a_limit(run: Run, tmp_path: Path) -> None:
    """A caption's CIDEr must not depend on how many others were captioned."""
    coco = replace(registry.load("coco"), scorers=(caption.cider,))
    scores = []
    for limit in (3, 8):
        run(coco, model=Fake("a red circle"), limit=limit, folder=tmp_path / str(limit))
        with logs.Log(tmp_path / str(limit)) as log:
            entries = log.entries(log.shown()[0].key)
            scores.append([entry.score.value for entry in entries if entry.score][:3])
    assert scores[0] == scores[1] and any(scores[0])


def test_every_figure_carries_its_protocol(run: Run) -> None:
    (cell,) = run("vqav2", limit=2, shots=(4,))
    protocol = cell.settings["protocol"]
    assert protocol["task_version"] == 1
    assert (protocol["scorer"]["name"], protocol["scorer"]["version"]) == ("always", 1)
    assert protocol["prompt"]["ask"] == "{{ images }}Question:{{ question }} Short answer:"
    assert protocol["decoding"]["num_beams"] == 3
    assert protocol["data"]["kind"] == "demo"
    assert (protocol["shots"], protocol["support"], protocol["seed"]) == (4, "random", 0)


@pytest.mark.slow
def test_the_other_scorers_stand_beside_the_default(run: Run) -> None:
    (cell,) = run("vqav2", limit=2)
    assert {"accuracy", "accuracy:official", "accuracy:evalai"} <= cell.metrics.keys()


@pytest.mark.slow
def test_withheld_answers_are_not_missing_ones(run: Run) -> None:
    task = registry.load("vqav2:test2015")
    blank = replace(task, sample=lambda row: replace(task.sample(row), references=()))
    (cell,) = run(blank)
    assert (cell.value, cell.unscored == cell.n, cell.complete) == (None, True, True)


def test_results_json_holds_every_cell_of_the_folder(run: Run, tmp_path: Path) -> None:
    run("vqav2", limit=2)
    run("mme", limit=2)
    body = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [cell["task"] for cell in body["cells"]] == ["mme", "vqav2"]


def test_the_report_gets_thumbnails_of_the_question_and_its_shots(run: Run, tmp_path: Path) -> None:
    run("vqav2", limit=3, shots=(2,), samples_shown=2)
    with logs.Log(tmp_path / "run") as log:
        seen = [
            sum(log.picture(key) is not None for key, _ in entry.pictures)
            for entry in log.entries(log.shown()[0].key)
        ]
    assert sorted(seen)[-2:] == [3, 3]


def spots(folder: Path) -> list[tuple[str, int, str, int, int]]:
    """Task, limit, model, samples and further cells of every shown figure, from results.json."""
    body = json.loads((folder / "results.json").read_text())
    return [
        (c["task"], c.get("limit", 0), c["settings"]["model"]["fingerprint"], c["n"], c["others"])
        for c in body["cells"]
    ]


@pytest.mark.slow
def test_a_smoke_test_takes_no_finished_figure_away(run: Run, tmp_path: Path) -> None:
    run("vqav2", "mme", model=Counting(fingerprint="good"), limit=9)
    before = spots(tmp_path / "run")
    run("vqav2", model=Counting(fingerprint="good"), limit=2)
    run("mme", model=Counting(fingerprint="other"), limit=3)
    kept = [(task, limit, model, n) for task, limit, model, n, _ in spots(tmp_path / "run")]
    assert kept == [tuple(spot[:4]) for spot in before]
    assert [others for *_, others in spots(tmp_path / "run")] == [1, 1]


@pytest.mark.slow
def test_an_attempt_that_fails_takes_no_finished_figure_away(run: Run, tmp_path: Path) -> None:
    (cell,) = run("vqav2", limit=6)
    before = (tmp_path / "run" / "results.json").read_bytes()
    for broken in (
        {"templates": {"vqav2": {"ask": "{{ imagess }}"}}},
        {"model": Counting(fail_at=3)},
        {"shots": (100_000,)},
    ):
        with pytest.raises((UsageError, MachineryError)):
            run("vqav2", limit=6, **broken)
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    with logs.Log(tmp_path / "run") as log:
        assert [made.key for made in log.shown()] == [cell.key]
        assert len(list(log.entries(cell.key))) == 6


@pytest.mark.slow
def test_two_models_of_one_folder_keep_their_answers(run: Run, tmp_path: Path) -> None:
    cat, dog = Counting("cat"), Counting("dog", fingerprint="dog")
    run("vqav2", model=cat, limit=3)
    run("vqav2", model=dog, limit=3)
    assert spots(tmp_path / "run") == [("vqav2", 3, "dog", 3, 1)]
    run("vqav2", model=cat, limit=3)
    assert spots(tmp_path / "run") == [("vqav2", 3, "one", 3, 1)]
    assert (len(cat.asked), len(dog.asked)) == (3, 3)


def test_fewer_samples_than_the_published_split_has_are_a_subset(run: Run, tmp_path: Path) -> None:
    def sized(size: int | None) -> Task:
        task = registry.load("vqav2")
        rows = list(islice(task.source.demo(), 6))
        files = Rows(rows)
        return replace(task, shots=None, source=Source(files=(files,), size=size))

    for size, complete in ((None, True), (6, True), (214_354, False)):
        (cell,) = run(sized(size), data=str(tmp_path), folder=tmp_path / str(size))
        assert (cell.n, cell.n_of, cell.complete) == (6, size, complete)
        assert cell.finished and cell.subset == (not complete)


@pytest.mark.slow
def test_the_demo_is_no_subset_of_anything(run: Run) -> None:
    (cell,) = run("vqav2")
    assert (cell.n_of, cell.complete) == (None, True)


@pytest.mark.slow
def test_a_limit_that_cuts_nothing_off_leaves_the_cell_complete(run: Run) -> None:
    (cell,) = run("vqav2", limit=10_000)
    assert (cell.limit, cell.complete) == (10_000, True)


def test_cut_and_empty_answers_are_counted(run: Run) -> None:
    class Runs(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, request in enumerate(requests):
                said = ("yes and", "length") if number % 2 else (" ", "stop")
                yield Answer(request.id, *said)

    (cell,) = run("vqav2", limit=5, model=Runs())
    assert (cell.cut, cell.empty) == (2, 3)


def test_the_code_that_made_a_figure_stands_beside_it(run: Run) -> None:
    (cell,) = run("vqav2", limit=1)
    code = cell.settings["code"]
    assert {"infimm_eval", "commit", "dirty", "torch", "transformers", "device"} <= code.keys()
    assert code["torch"]


def test_prompts_that_lost_shots_are_counted(run: Run) -> None:
    class Short(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for answer in super().generate(requests):
                yield replace(answer, notes={"dropped_shots": 2})

    listener = Listener()
    (cell,) = run("vqav2", model=Short(), limit=3, shots=(4,), listener=listener)
    assert cell.shortened == 3
    assert any("3 prompts did not fit" in note for note in listener.notes)


@pytest.mark.slow
def test_an_edited_task_of_ones_own_is_another_figure(run: Run, tmp_path: Path) -> None:
    def edited(text: str) -> Task:
        path = tmp_path / "mine.py"
        path.write_text(
            "from dataclasses import replace\nfrom infimm_eval import registry\n"
            "BASE = registry.load('vqav2')\n"
            f"def sample(row):\n    return replace(BASE.sample(row), references=('{text}',) * 10)\n"
            "TASK = replace(BASE, name='mine', sample=sample)\n"
        )
        sys.modules.pop("infimm_eval.own_tasks.mine", None)
        return registry.load(str(path))

    (first,) = run(edited("no"), model=Fake("yes"), limit=5)
    (second,) = run(edited("yes"), model=Fake("yes"), limit=5)
    assert (first.value, second.value) == (0.0, 100.0)
    with logs.Log(tmp_path / "run") as log:
        assert [cell.value for cell in log.cells()] == [0.0, 100.0]
