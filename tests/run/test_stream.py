"""One stream over all cells, and questions that fail alone."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from infimm_eval import logs, registry
from infimm_eval.errors import MachineryError, UsageError
from infimm_eval.models.fake import Fake
from infimm_eval.types import (
    Answer,
    Outcome,
    Request,
    Summary,
)
from tests.conftest import Listener
from tests.run.models import Counting, Run


def test_a_question_that_failed_is_unscored_and_asked_again(run: Run) -> None:
    (cell,) = run("vqav2", model=Counting(error_every=3), limit=9)
    assert (cell.unanswered, cell.unscored, cell.complete) == (3, 3, False)
    healthy = Counting()
    (cell,) = run("vqav2", model=healthy, limit=9)
    assert (len(healthy.asked), cell.unscored) == (3, 0)


def test_a_model_that_gives_way_stops_the_run_and_loses_nothing(run: Run) -> None:
    with pytest.raises(MachineryError):
        run("vqav2", model=Counting(fail_at=7), limit=20)
    model = Counting()
    run("vqav2", model=model, limit=20)
    assert len(model.asked) == 14


class Batching(Fake):
    """Draws many requests before it answers any, and answers the last ones first."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        source = iter(requests)
        while batch := list(islice(source, 50)):
            assert len({request.id for request in batch}) == len(batch)
            yield from super().generate(reversed(batch))


@pytest.mark.slow
def test_one_stream_spans_all_cells_whatever_order_answers_come_in(
    run: Run, tmp_path: Path
) -> None:
    tasks, plan = ("vqav2", "okvqa"), {"shots": (0, 4), "seeds": (0, 1), "limit": 7}
    batched = run(*tasks, model=Batching(), folder=tmp_path / "batched", **plan)
    alone = run(*tasks, model=Fake(), folder=tmp_path / "alone", **plan)
    assert [(c.key, c.metrics, c.ci95) for c in batched] == [
        (c.key, c.metrics, c.ci95) for c in alone
    ]
    for name, cells in (("batched", batched), ("alone", alone)):
        assert sum(c.statistics["answers"] for c in cells) == 8 * 7, name


def test_a_cell_is_scored_while_the_next_is_asked(run: Run) -> None:
    scored, asked = threading.Event(), []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        scored.set()
        return Summary(metrics={"accuracy": 50.0})

    class Waits(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, request in enumerate(requests):
                if number == 5:  # the second cell has begun
                    asked.append(scored.wait(timeout=30))
                yield Answer(request.id, "yes")

    run(replace(registry.load("vqav2"), metrics=metrics), shots=(0, 4), model=Waits(), limit=4)
    assert asked == [True]


def test_a_cell_that_cannot_be_scored_takes_no_other_with_it(run: Run, tmp_path: Path) -> None:
    looked: list[Sequence[Outcome]] = []

    def metrics(outcomes: Sequence[Outcome], corpus: Mapping[str, float]) -> Summary:
        looked.append(outcomes)
        if len(looked) == 1:  # these are made up, to see which figures the metrics give
            return Summary(metrics={"accuracy": 100.0})
        raise UsageError("no such sub-task")

    listener = Listener()
    broken = replace(registry.load("vqav2"), metrics=metrics)
    with pytest.raises(UsageError, match="no such sub-task"):
        run(broken, "mme", limit=3, listener=listener)
    assert "VQAv2 cannot be scored: no such sub-task" in listener.notes
    assert [cell.task for cell in logs.read(tmp_path / "run")] == ["mme"]


def test_an_answer_to_nothing_that_was_asked_is_the_models_fault(run: Run) -> None:
    class Confused(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for request in requests:
                yield Answer(f"not {request.id}", "yes")

    with pytest.raises(MachineryError, match="which was not asked"):
        run("vqav2", limit=2, model=Confused())


def test_a_model_that_cannot_rank_is_refused_before_anything_is_asked(run: Run) -> None:
    class Speaks:
        name, style, settings = "speaks", "completion", {"fingerprint": "1"}

        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            raise AssertionError("nothing may be asked")

    with pytest.raises(UsageError, match=r"speaks has no rank\(requests\)"):
        run("scienceqa", model=Speaks(), choice="rank", limit=2)


class Stumbles(Fake):
    """Raises at every tenth question that it has not met, in the middle of a batch of eight."""

    def __init__(self) -> None:
        super().__init__("yes")
        self.met: dict[str, int] = {}

    def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
        source = iter(requests)
        while batch := list(islice(source, 8)):
            for request in batch:
                if self.met.setdefault(request.id, len(self.met)) % 10 == 9:
                    raise RuntimeError("the picture is 300 x 1")
                yield Answer(request.id, "yes")


@pytest.mark.slow
def test_a_question_that_a_model_stumbles_over_takes_no_other_with_it(
    run: Run, tmp_path: Path
) -> None:
    (sound,) = run("vqav2", model=Fake("yes"), limit=40, folder=tmp_path / "sound")
    listener = Listener()
    (cell,) = run("vqav2", model=Stumbles(), limit=40, listener=listener)
    assert cell.unanswered == 4 and cell.n == sound.n and not cell.finished
    assert any("broke off (RuntimeError: the picture is 300 x 1)" in n for n in listener.notes)
    assert any("questions failed (RuntimeError: the picture" in note for note in listener.notes)


def test_a_template_that_fails_for_one_sample_costs_that_question(run: Run) -> None:
    ask = "{{ question }}{{ 1 // (question.split() | length - 5) }}"
    template = {"vqav2": {"ask": ask}}
    (cell,) = run("vqav2", limit=30, templates=template, zero_shot_demos=0)
    assert 0 < cell.unanswered < 30


def test_twenty_failures_in_a_row_for_one_reason_stop_the_run(run: Run) -> None:
    model = Counting(error_every=1)
    with pytest.raises(MachineryError, match="20 questions in a row failed for one reason"):
        run("vqav2", model=model, limit=200)
    assert len(model.asked) == 20


def test_failures_with_answers_in_between_do_not(run: Run) -> None:
    (cell,) = run("vqav2", model=Counting(error_every=2), limit=100)
    assert cell.unanswered == 50


def test_a_ranking_without_its_log_likelihoods_is_no_answer(run: Run) -> None:
    class Silent(Fake):
        def rank(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for number, answer in enumerate(super().rank(requests)):
                yield replace(answer, logliks=()) if number == 1 else answer

    (cell,) = run("scienceqa", model=Silent(), limit=4, choice="rank")
    assert cell.unanswered == 1


def test_half_a_surrogate_pair_and_odd_notes_are_kept_as_they_can_be(
    run: Run, tmp_path: Path
) -> None:
    class Odd(Fake):
        def generate(self, requests: Iterable[Request]) -> Iterator[Answer]:
            for request in requests:
                yield Answer(request.id, "yes \ud83d", notes={"path": tmp_path, "text": "\ud83d"})

    (cell,) = run("vqav2", model=Odd(), limit=2)
    assert cell.n == 2 and not cell.unanswered
