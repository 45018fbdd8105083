"""Samples a second from row to scored record, and what the harness adds to a model's time.

    python tests/bench/bench_harness.py [--samples 20000] [--delay SECONDS] [--writers 100]

VQAv2-shaped rows, 4 shots, no picture is decoded; the model costs nothing, or ``--delay`` a sample.
Prints JSON; ``overhead`` is the share of the wall time that is not the model's.  With
``--writers``, only the log: so many threads hand it ``--samples`` answers, as many workers would,
until all of them are on disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from infimm_eval import logs, registry
from infimm_eval.logs import NamedImage
from infimm_eval.models.fake import Fake
from infimm_eval.run import Plan, ProgressListener
from infimm_eval.run import run as run_plan
from infimm_eval.types import Answer, Model, Request, Row, Source, Task


class Timed(Fake):
    """Knows how long it took itself: it may sleep longer than it was told to."""

    seconds = 0.0

    def _next(self, request: Request) -> Answer | None:
        began = time.perf_counter()
        answer = super()._next(request)
        self.seconds += time.perf_counter() - began
        return answer


def rows(count: int, start: int) -> Iterator[Row]:
    answers = ["yes", "no", "2", "a red bus", "on the table"]
    for number in range(start, start + count):
        name = f"val2014/COCO_val2014_{number // 5:012d}.jpg"
        yield {
            "image": NamedImage(name, f"{name}:1234"),
            "image_id": number // 5,
            "question_id": number,
            "question": f"What is beside the {number % 977}th thing in the picture?",
            "answers": [answers[(number + n // 4) % 5] for n in range(10)],
            "question_type": "what is",
            "answer_type": "other",
        }


def task(count: int) -> Task:
    return replace(
        registry.load("vqav2"),
        source=Source(demo=lambda: rows(count, 0)),
        shots=Source(demo=lambda: rows(5000, 10_000_000)),
    )


def run(count: int, model: Model) -> logs.Cell:
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(tasks=[task(count)], shots=(4,), samples_shown=0)
        (cell,) = run_plan(plan, model, Path(folder), ProgressListener())
    return cell


def main(count: int, delay: float = 0.0) -> None:
    model = Timed("yes", delay=delay)
    run(100, Fake("yes"))  # imports what is imported at first use
    began, cpu = time.perf_counter(), time.process_time()
    cell = run(count, model)
    seconds = time.perf_counter() - began
    cpu = time.process_time() - cpu
    figures = {
        "samples": count,
        "shots": 4,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "samples_per_second": round(count / seconds),
        "delay": delay,
        "overhead": round(1 - model.seconds / seconds, 4),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "accuracy": cell.value,
    }
    print(json.dumps(figures))


def write(count: int, writers: int) -> None:
    """How many answers a second the log takes."""
    keys = [sha256(str(number).encode()).hexdigest()[:32] for number in range(count)]
    answer = Answer("1", "a red bus", notes={"tokens_out": 4})

    def some(log: logs.Log, first: int) -> None:
        for key in keys[first::writers]:
            log.add_answer(key, answer)

    with tempfile.TemporaryDirectory() as folder, logs.Log(Path(folder), writing=True) as log:
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(partial(some, log), range(writers)))
        log.save()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    figures = {
        "answers": count,
        "writers": writers,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "answers_per_second": round(count / seconds),
        "answers_per_cpu_second": round(count / cpu),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--writers", type=int, default=0)
    given = parser.parse_args()
    if given.writers:
        write(given.samples, given.writers)
    else:
        main(given.samples, given.delay)
