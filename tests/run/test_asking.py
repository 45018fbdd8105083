"""What is asked: shots, templates and limits, and nothing twice."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import logs
from infimm_eval.errors import UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import (
    Answer,
    Request,
    Unit,
)
from tests.conftest import Listener
from tests.run.models import Counting, Run


def units(folder: Path, cell: logs.Cell) -> list[Unit]:
    with logs.Log(folder) as log:
        return log.units(cell.key)


def test_the_same_run_again_asks_nothing(run: Run, tmp_path: Path) -> None:
    model, listener = Counting(), Listener()
    (first,) = run("vqav2", model=model, limit=10)
    evidence = units(tmp_path / "run", first)
    (again,) = run("vqav2", model=model, limit=10, listener=listener)
    assert (len(model.asked), listener.known) == (10, 10)
    assert again.metrics == first.metrics and units(tmp_path / "run", again) == evidence != []


def test_a_longer_run_asks_only_what_is_new(run: Run) -> None:
    model = Counting()
    run("vqav2", model=model, limit=5)
    (cell,) = run("vqav2", model=model, limit=12)
    assert (len(model.asked), cell.n) == (12, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"shots": (4,)},
        {"style": "instruct"},
        {"zero_shot_demos": 0},
        {"templates": {"vqav2": {"ask": "{{ images }}{{ question }}"}}},
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
    with logs.Log(tmp_path / "run") as log:
        said = {entry.answer.text for entry in log.entries(log.shown()[0].key) if entry.answer}
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


@pytest.mark.slow
def test_shots_are_the_same_whatever_the_limit_and_stand_in_the_log(
    run: Run, tmp_path: Path
) -> None:
    run("vqav2", limit=3, shots=(4,), folder=tmp_path / "a")
    run("vqav2", limit=9, shots=(4,), folder=tmp_path / "b")
    drawn = []
    for name in "ab":
        with logs.Log(tmp_path / name) as log:
            entries = list(log.entries(log.shown()[0].key))
            drawn.append([entry.shot_ids for entry in entries][:3])
    assert drawn[0] == drawn[1] and all(len(set(ids)) == 4 for ids in drawn[0])


def test_chat_models_get_no_examples_at_zero_shots(run: Run) -> None:
    model = Counting(style="instruct")
    run("vqav2", model=model, limit=1)
    assert len(model.asked[0].prompt.turns) == 1


@pytest.mark.slow
def test_a_zero_shot_benchmark_runs_once_whatever_shots_are_asked(run: Run) -> None:
    cells = run("mme", "vqav2", shots=(0, 4), seeds=(0, 1), limit=4)
    places = [(cell.task, cell.shots, cell.seed) for cell in cells]
    assert places == [
        ("mme", 0, 0),
        *(("vqav2", shots, seed) for shots in (0, 4) for seed in (0, 1)),
    ]


def test_ranking_asks_for_the_options_and_answers_with_the_best(run: Run) -> None:
    model = Counting()
    (cell,) = run("scienceqa", model=model, limit=3, choice="rank")
    assert cell.settings["protocol"]["choice"] == "rank"
    assert all(request.options for request in model.asked)


def test_an_unknown_part_of_a_template_is_said_so(run: Run) -> None:
    with pytest.raises(UsageError, match="unknown part of the prompt template of vqav2 'aks'"):
        run("vqav2", limit=1, templates={"vqav2": {"aks": "x"}})


def test_a_batch_that_changes_answers_is_found_out(run: Run) -> None:
    class Sloppy(Fake):
        """Answers the second of a batch as it answered the first."""

        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            said = ""
            for answer in super().generate(requests):
                said = said or answer.text
                yield replace(answer, text=said)

    listener = Listener()
    (sloppy,) = run("vqav2", model=Sloppy(), limit=30, check_batching=10, listener=listener)
    (sound,) = run("mme", model=Fake(), limit=30, check_batching=10)
    assert sloppy.statistics["batching_checked"] == 10
    assert sloppy.statistics["batching_differs"] > 0
    assert sound.statistics["batching_differs"] == 0
    assert any("answers differ when asked alone" in note for note in listener.notes)


def test_a_template_that_names_nothing_known_is_the_users_mistake(run: Run) -> None:
    with pytest.raises(UsageError, match="'imagess' is undefined"):
        run("vqav2", limit=1, templates={"vqav2": {"ask": "{{ imagess }}"}})


def test_a_template_of_ones_own_holds_for_the_benchmarks_further_splits(run: Run) -> None:
    (cell,) = run("vqav2:test2015", limit=1, templates={"vqav2": {"ask": "{{ question }}"}})
    assert cell.settings["protocol"]["prompt"]["ask"] == "{{ question }}"


def test_an_answer_may_be_given_more_tokens_and_the_protocol_says_so(run: Run) -> None:
    model = Counting()
    cells = run("vqav2", "mme", model=model, limit=1, max_new_tokens={"": 99, "mme": 7})
    limits = [cell.settings["protocol"]["decoding"]["max_new_tokens"] for cell in cells]
    assert limits == [99, 7] == [r.decoding.max_new_tokens for r in model.asked]
