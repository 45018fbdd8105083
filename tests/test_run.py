from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import log, registry
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.scorers import caption
from infimm_eval.types import Answer, Outcome, Request, Summary, Unit
from tests.conftest import Silent

Run = Callable[..., list[log.Cell]]


class Counting(Fake):
    """Counts what it is asked, and remembers the prompts."""

    def __init__(self, says: str = "yes", fingerprint: str = "one", **options: Any) -> None:
        super().__init__(says, **options)
        self.asked: list[Request] = []
        self.fingerprint = fingerprint

    @property
    def settings(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return super().generate(self._noted(requests))

    def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
        return super().rank(self._noted(requests))

    def _noted(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            self.asked.append(request)
            yield request


def units(folder: Path, cell: log.Cell) -> list[Unit]:
    with log.Log(folder) as kept:
        return kept.units(cell.place)


def test_the_same_run_again_asks_nothing(run: Run, tmp_path: Path) -> None:
    model, watcher = Counting(), Silent()
    (first,) = run("vqav2", model=model, limit=10)
    evidence = units(tmp_path / "run", first)
    (again,) = run("vqav2", model=model, limit=10, watcher=watcher)
    assert (len(model.asked), watcher.kept) == (10, 10)
    assert again.metrics == first.metrics and units(tmp_path / "run", again) == evidence != []


def test_a_longer_run_asks_only_what_is_new(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=5)
    (cell,) = run("vqav2", model=model, limit=12)
    assert (len(model.asked), cell.n) == (12, 12)


@pytest.mark.parametrize(
    "changed",
    [
        {"shots": (4,)},
        {"style": "instruct"},
        {"zero_shot_demos": 0},
        {"wordings": {"vqav2": {"ask": "{{ images }}{{ question }}"}}},
        {"model": Counting(fingerprint="another")},
    ],
)
def test_another_question_is_asked_anew_and_nothing_is_mixed(
    run: Run, changed: dict[str, Any]
) -> None:
    first, second = Counting(), changed.pop("model", Counting())
    run("vqav2", model=first, limit=6)
    run("vqav2", model=second, limit=6, **changed)
    assert len(second.asked) == 6
    run("vqav2", model=first, limit=6)
    assert len(first.asked) == 6


def test_a_changed_answer_limit_keeps_what_was_scored_apart(run: Run, tmp_path: Path) -> None:
    run("vqav2", model=Counting("yes"), limit=6)
    run("vqav2", model=Counting("no", fingerprint="other"), limit=6)
    with log.Log(tmp_path / "run") as kept:
        said = {
            entry.answer.text for entry in kept.entries(log.Place("vqav2", 0, 0)) if entry.answer
        }
    assert said == {"no"}


def test_zero_shots_show_two_examples_without_pictures(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=1)
    (request,) = model.asked
    pictures = [
        sum(not isinstance(part, str) for part in turn.content) for turn in request.prompt.turns
    ]
    assert pictures == [0, 0, 0, 0, 1]


def test_four_shots_show_four_pictures_and_the_question_its_own(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=1, shots=(4,))
    users = [turn for turn in model.asked[0].prompt.turns if turn.role == "user"]
    assert [sum(not isinstance(p, str) for p in turn.content) for turn in users] == [1] * 5


def test_shots_are_the_same_whatever_the_limit_and_stand_in_the_log(
    run: Run, tmp_path: Path
) -> None:
    run("vqav2", limit=3, shots=(4,), folder=tmp_path / "a")
    run("vqav2", limit=9, shots=(4,), folder=tmp_path / "b")
    drawn = []
    for name in "ab":
        with log.Log(tmp_path / name) as kept:
            entries = list(kept.entries(log.Place("vqav2", 4, 0)))
            drawn.append([entry.shot_ids for entry in entries][:3])
    assert drawn[0] == drawn[1] and all(len(set(ids)) == 4 for ids in drawn[0])


def test_chat_models_get_no_examples_at_zero_shots(run: Run) -> None:
    model = Counting(style="instruct")
    run("vqav2", model=model, limit=1)
    assert len(model.asked[0].prompt.turns) == 1


def test_a_zero_shot_benchmark_runs_once_whatever_shots_are_asked(run: Run) -> None:
    cells = run("mme", "vqav2", shots=(0, 4), seeds=(0, 1), limit=4)
    places = [(cell.task, cell.shots, cell.seed) for cell in cells]
    assert places == [
        ("mme", 0, 0),
        *(("vqav2", shots, seed) for shots in (0, 4) for seed in (0, 1)),
    ]


def test_a_question_that_failed_is_unscored_and_asked_again(run: Run) -> None:
    (cell,) = run("vqav2", model=Counting(error_every=3), limit=9)
    assert (cell.unanswered, cell.unscored, cell.complete) == (3, 3, False)
    healthy = Counting()
    (cell,) = run("vqav2", model=healthy, limit=9)
    assert (len(healthy.asked), cell.unscored) == (3, 0)


def test_metrics_of_ones_own_see_every_outcome_as_a_sequence(run: Run) -> None:
    seen: list[Sequence[Outcome]] = []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        seen.append(outcomes)
        return Summary(metrics={"accuracy": 50.0})

    task = replace(registry.load("vqav2"), metrics=metrics)
    run(task, model=Fake("yes", error_every=3), limit=9)
    for outcomes in seen:
        every = list(outcomes)
        assert [outcome.score.value is None for outcome in every] == [False, False, True] * 3
        assert (len(outcomes), outcomes[-1], outcomes[1:5]) == (9, every[-1], every[1:5])
    assert len(seen) == len(task.variants)


def test_a_model_that_gives_way_stops_the_run_and_loses_nothing(run: Run) -> None:
    with pytest.raises(MachineryError):
        run("vqav2", model=Counting(fail_at=7), limit=20)
    model = Counting()
    run("vqav2", model=model, limit=20)
    assert len(model.asked) == 14


def test_a_limited_run_says_so(run: Run) -> None:
    (cell,) = run("vqav2", limit=4)
    assert (cell.limit, cell.complete, cell.n) == (4, False, 4)


def test_document_frequency_is_the_full_sets_also_under_a_limit(run: Run, tmp_path: Path) -> None:
    """A caption's CIDEr must not depend on how many others were captioned."""
    coco = replace(registry.load("coco"), variants={"CIDEr-D": caption.cider})
    scores = []
    for limit in (3, 8):
        run(coco, model=Fake("a red circle"), limit=limit, folder=tmp_path / str(limit))
        with log.Log(tmp_path / str(limit)) as kept:
            entries = kept.entries(log.Place("coco", 0, 0))
            scores.append([entry.score.value for entry in entries if entry.score][:3])
    assert scores[0] == scores[1] and any(scores[0])


def test_every_figure_carries_its_protocol(run: Run) -> None:
    (cell,) = run("vqav2", limit=2, shots=(4,))
    protocol = cell.settings["protocol"]
    assert protocol["task_version"] == 1
    assert protocol["ruler"] == "always"
    assert protocol["prompt"]["ask"] == "{{ images }}Question:{{ question }} Short answer:"
    assert protocol["decoding"]["num_beams"] == 3
    assert protocol["data"]["kind"] == "demo"
    assert (protocol["shots"], protocol["support"], protocol["seed"]) == (4, "random", 0)


def test_the_other_rulers_stand_beside_the_default(run: Run) -> None:
    (cell,) = run("vqav2", limit=2)
    assert {"accuracy", "accuracy:official", "accuracy:evalai"} <= cell.metrics.keys()


def test_ranking_asks_for_the_options_and_answers_with_the_best(run: Run) -> None:
    model = Counting()
    (cell,) = run("scienceqa", model=model, limit=3, choice="rank")
    assert cell.settings["protocol"]["choice"] == "rank"
    assert all(request.options for request in model.asked)


def test_withheld_answers_are_not_missing_ones(run: Run) -> None:
    task = registry.load("vqav2:test2015")
    blank = replace(task, sample=lambda row: replace(task.sample(row), references=()))
    (cell,) = run(blank)
    assert (cell.value, cell.unscored == cell.n, cell.complete) == (None, True, True)


def test_an_unknown_part_of_a_wording_is_said_so(run: Run) -> None:
    with pytest.raises(UsageError, match="unknown part of the wording of vqav2 'aks'"):
        run("vqav2", limit=1, wordings={"vqav2": {"aks": "x"}})


def test_results_json_holds_every_cell_of_the_folder(run: Run, tmp_path: Path) -> None:
    run("vqav2", limit=2)
    run("mme", limit=2)
    body = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [cell["task"] for cell in body["cells"]] == ["mme", "vqav2"]


def test_the_report_gets_thumbnails_of_the_question_and_its_shots(run: Run, tmp_path: Path) -> None:
    run("vqav2", limit=3, shots=(2,), samples_shown=2)
    with log.Log(tmp_path / "run") as kept:
        seen = [
            sum(kept.picture(key) is not None for key, _ in entry.pictures)
            for entry in kept.entries(log.Place("vqav2", 2, 0))
        ]
    assert sorted(seen)[-2:] == [3, 3]


def test_a_batch_that_changes_answers_is_found_out(run: Run) -> None:
    class Sloppy(Fake):
        """Answers the second of a batch as it answered the first."""

        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            said = ""
            for answer in super().generate(requests):
                said = said or answer.text
                yield replace(answer, text=said)

    watcher = Silent()
    (sloppy,) = run("vqav2", model=Sloppy(), limit=30, check_batching=10, watcher=watcher)
    (sound,) = run("mme", model=Fake(), limit=30, check_batching=10)
    assert sloppy.statistics["batching_checked"] == 10
    assert sloppy.statistics["batching_differs"] > 0
    assert sound.statistics["batching_differs"] == 0
    assert any("answers differ when asked alone" in note for note in watcher.stages)


def test_another_models_figures_make_way_and_come_back_unasked(run: Run) -> None:
    cat, dog, watcher = Counting("cat"), Counting("dog", fingerprint="dog"), Silent()
    run("vqav2", model=cat, limit=3)
    run("mme", model=dog, limit=3, watcher=watcher)
    assert any("1 figures here are of another model" in note for note in watcher.stages)
    (again,) = run("vqav2", model=cat, limit=3)
    assert (len(cat.asked), again.n) == (3, 3)


def test_prompts_that_lost_shots_are_counted(run: Run) -> None:
    class Short(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for answer in super().generate(requests):
                yield replace(answer, notes={"dropped_shots": 2})

    watcher = Silent()
    (cell,) = run("vqav2", model=Short(), limit=3, shots=(4,), watcher=watcher)
    assert cell.shortened == 3
    assert any("3 prompts did not fit" in note for note in watcher.stages)


def test_a_template_that_names_nothing_known_is_the_users_mistake(run: Run) -> None:
    with pytest.raises(UsageError, match="'imagess' is undefined"):
        run("vqav2", limit=1, wordings={"vqav2": {"ask": "{{ imagess }}"}})


def test_a_wording_of_ones_own_holds_for_the_benchmarks_further_splits(run: Run) -> None:
    (cell,) = run("vqav2:test2015", limit=1, wordings={"vqav2": {"ask": "{{ question }}"}})
    assert cell.settings["protocol"]["prompt"]["ask"] == "{{ question }}"
