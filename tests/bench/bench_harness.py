"""Samples a second from row to scored record with a model that costs nothing.

    python tests/bench/bench_harness.py [N]

VQAv2-shaped rows, 4 shots, no picture is decoded.  Prints JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from infimm_eval import log, registry, runner
from infimm_eval.log import Named
from infimm_eval.models.fake import Fake
from infimm_eval.types import Row, Source, Task


class Silent:
    def started(self, place: log.Place, title: str, total: int | None) -> None: ...
    def asked(self, kept: bool) -> None: ...
    def stage(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def finished(self, cell: log.Cell) -> None: ...


def rows(count: int, start: int) -> Iterator[Row]:
    answers = ["yes", "no", "2", "a red bus", "on the table"]
    for number in range(start, start + count):
        name = f"val2014/COCO_val2014_{number // 5:012d}.jpg"
        yield {
            "image": Named(name, f"{name}:1234"),
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


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = runner.Plan(tasks=[task(count)], shots=(4,), samples_shown=0)
        began, cpu = time.perf_counter(), time.process_time()
        (cell,) = runner.run(plan, Fake("yes"), Path(folder), Silent())
        seconds = time.perf_counter() - began
        cpu = time.process_time() - cpu
    figures = {
        "samples": count,
        "shots": 4,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "samples_per_second": round(count / seconds),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "accuracy": cell.value,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
