"""Which of the requests that wait are next: long before short, and nobody for ever."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from infimm_eval import models
from infimm_eval.models.shared.batch_limiter import BatchLimiter
from infimm_eval.models.shared.statistics import Statistics
from infimm_eval.models.shared.window import Window
from tests.models.families import llava, saved
from tests.models.tiny import checkpoint, few_shot, request


@dataclass(eq=False)
class Job:
    cost: int
    group: str = "a"
    arrival: int = 0


def window(rows: int = 4, batches: int = 3) -> Window[Job]:
    return Window(BatchLimiter(rows, Statistics()), batches)


def batches(jobs: Iterable[Job], rows: int = 4, wide: int = 3) -> Iterator[list[Job]]:
    """As the backends do: the window is filled, a batch taken, and again."""
    waiting, coming = window(rows, wide), iter(jobs)
    while True:
        while len(waiting) < waiting.capacity and (job := next(coming, None)):
            waiting.add(job)
        if not waiting:
            return
        yield waiting.batch()


def test_long_jobs_go_before_short_ones_of_the_same_window():
    costs = [[job.cost for job in batch] for batch in batches(map(Job, range(1, 13)))]
    assert costs == [[12, 11, 10, 9], [8, 7, 6, 5], [4, 3, 2, 1]]


def test_the_group_of_the_job_that_waited_longest_goes_first():
    jobs = [Job(1, "a"), Job(50, "b"), Job(60, "b"), Job(2, "a")]
    assert [[job.group for job in batch] for batch in batches(jobs)] == [["a"] * 2, ["b"] * 2]


def delays(found: Iterable[list[Job]], count: int) -> list[int]:
    """How many jobs that came later went before each of the first ``count``."""
    order = [job.arrival for batch in found for job in batch]
    return [sum(later > n for later in order[: order.index(n)]) for n in range(count)]


@pytest.mark.parametrize("wide", [2, 4, 8])
def test_short_jobs_wait_for_about_a_window_however_many_long_ones_follow(wide):
    jobs = [Job(1 + n % 3) for n in range(20)] + [Job(100 + n) for n in range(400)]
    worst = max(delays(batches(jobs, 4, wide), 20))
    assert 0 < worst <= 4 * (wide + 2)


def test_short_jobs_of_every_moment_wait_for_about_a_window():
    dice = random.Random(0)
    jobs = [Job(dice.choice([1, 2, 50, 60, 70, 80]) + n // 10) for n in range(600)]
    assert max(delays(batches(jobs, 4, 4), 600)) <= 4 * 6


def test_no_group_waits_for_ever_for_another():
    dice = random.Random(0)
    jobs = [Job(dice.randrange(100), dice.choice("aaaaaaab")) for _ in range(600)]
    found = list(batches(jobs, 4, 4))
    assert max(delays(found, 600)) <= 4 * 6
    assert sorted(job.arrival for batch in found for job in batch) == list(range(600))


def test_batches_stay_full_and_even():
    """What a batch computes beside its real work is the difference to its longest row."""
    dice = random.Random(0)
    jobs = [Job(dice.randint(1, 100)) for _ in range(800)]
    found = list(batches(jobs, 8, 4))
    assert sum(len(batch) == 8 for batch in found) >= len(found) - 1
    padded = sum(batch[0].cost - job.cost for batch in found for job in batch)
    as_they_come = [jobs[i : i + 8] for i in range(0, 800, 8)]
    untidy = sum(max(j.cost for j in b) - job.cost for b in as_they_come for job in b)
    assert padded < untidy / 3


def test_jobs_that_were_taken_and_not_done_come_back_to_their_place():
    waiting = window()
    for n in range(6):
        waiting.add(Job(n))
    batch = waiting.batch()
    assert [job.cost for job in waiting] == [0, 1]
    waiting.restore(batch)
    assert [job.cost for job in waiting] == [0, 1, 2, 3, 4, 5]


def test_an_overdue_job_that_may_not_join_lets_nobody_join():
    waiting = window(rows=2, batches=2)
    waiting.add(Job(1, "old"))
    for n in range(4):
        waiting.add(Job(n, "new"))
        assert not waiting.overdue
        assert len(waiting.joining(1, lambda job: job.group == "new")) == 1
    waiting.add(Job(9, "new"))
    assert waiting.overdue
    assert waiting.joining(1, lambda job: job.group == "new") == []
    assert [job.group for job in waiting.batch()] == ["old"]
    assert len(waiting.joining(1, lambda job: job.group == "new")) == 1


def flamingo(tmp_path: Any, **options: Any) -> Any:
    return models.load(str(checkpoint(tmp_path)), device="cpu", **options)


def transformers(tmp_path: Any, **options: Any) -> Any:
    return models.load(str(saved(tmp_path, llava)), device="cpu", **options)


def cells(**first: Any) -> list[Any]:
    """Eight short questions, and many long ones of a later cell."""
    short = [request(f"short {n}", f"red {n}?", **first) for n in range(8)]
    shots = ["red", "dog"] * 6
    return [*short, *(request(f"long {n}", *shots, "Output:") for n in range(60))]


@pytest.mark.slow
@pytest.mark.parametrize("first", [{}, {"num_beams": 3}, {"stop": ("dog",)}], ids=str)
@pytest.mark.parametrize("backend", [flamingo, transformers])
def test_a_cell_is_answered_while_a_later_and_costlier_one_is_asked(backend, first, tmp_path):
    model = backend(tmp_path, batch_size=4, window=2)
    order = [answer.id for answer in model.generate(cells(**first))]
    assert len(order) == len(set(order)) == 68
    assert max(order.index(f"short {n}") for n in range(8)) < 8 + 4 * (2 + 3)


@pytest.mark.slow
def test_a_running_batch_ends_for_a_job_that_is_longer_than_its_rows(tmp_path):
    model = flamingo(tmp_path, batch_size=4, window=2)
    short = [request(f"short {n}", f"red {n % 7}?", max_new_tokens=3) for n in range(120)]
    long = request("long", *["red", "dog"] * 8, "Output:")
    order = [answer.id for answer in model.generate([*short[:20], long, *short[20:]])]
    assert len(order) == 121
    assert order.index("long") < 20 + 4 * (2 + 3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [flamingo, transformers])
def test_one_stream_over_cells_gives_the_answers_of_each_cell_alone(backend, tmp_path):
    first = few_shot(10, num_beams=3)
    second = [request(f"text {n}", f"what {n}?", max_new_tokens=9) for n in range(10)]
    model = backend(tmp_path, batch_size=4)
    together = {a.id: a.text for a in model.generate([*first, *second])}
    alone = {a.id: a.text for cell in (first, second) for a in model.generate(cell)}
    assert together == alone
