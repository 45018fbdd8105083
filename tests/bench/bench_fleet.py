"""What a fleet costs and gains; prints JSON.

    python -m tests.bench.bench_fleet [--workers 1,2,4] [--rows 300] [--delay 0.05] [--demo 120]

``scaling``: the fake model at ``--delay`` seconds a sample, seconds against the ideal, and the
driver's CPU a sample.  ``leases``: processor seconds of one worker of the demo model against the
same model alone.  ``pictures``: how many the demo model encodes, alone and as two workers.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import psutil

os.environ["RAY_AUTH_MODE"] = "token"

from infimm_eval import models
from infimm_eval.models import ModelOptions
from infimm_eval.workers.cluster import Cluster
from infimm_eval.workers.crew import FleetOptions
from infimm_eval.workers.fleet import Fleet
from infimm_eval.workers.recipe import Recipe
from tests.workers.asked import requests


def opened(spec: str, workers: int, **own: Any) -> Fleet:
    """A fleet whose workers are all there."""
    cluster = Cluster(None, cpus=workers, gpus=0)
    recipe = Recipe.of(spec, ModelOptions(options=own))
    fleet = Fleet(recipe, cluster, FleetOptions(workers=workers))
    while len(fleet._crew.live) < workers:
        fleet._crew.tend()
        fleet._crew.look(0.1)
    return fleet


def scaling(counts: list[int], rows: int, delay: float) -> list[dict[str, Any]]:
    """The first call of each fleet, which knows no pace yet, and the second."""
    asked, found = requests(rows), []
    for workers in counts:
        began = time.perf_counter()
        fleet = opened("fake", workers, delay=delay)
        ready = time.perf_counter() - began
        for call in ("first", "second"):
            wall, cpu = time.perf_counter(), time.process_time()
            assert len(list(fleet.generate(asked))) == rows
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found.append(
                {
                    "workers": workers,
                    "call": call,
                    "ready": round(ready, 1),
                    "seconds": round(wall, 2),
                    "of_ideal": round(rows * delay / workers / wall, 3),
                    "driver_ms_a_sample": round(1000 * cpu / rows, 3),
                }
            )
        fleet.close()
    return found


def leases(rows: int) -> dict[str, Any]:
    """Processor seconds: with shots, so that batches matter."""
    asked = requests(rows, shots=4)
    alone = models.load("demo")
    list(alone.generate(asked[:16]))
    began, wall = time.process_time(), time.perf_counter()
    wanted = {answer.id: answer.text for answer in alone.generate(asked)}
    alone_cpu, alone_wall = time.process_time() - began, time.perf_counter() - wall
    fleet = opened("demo", 1)
    list(fleet.generate(asked[:16]))
    worker = psutil.Process(fleet._crew.live[0].who.pid)
    before, wall = sum(worker.cpu_times()[:2]), time.perf_counter()
    got = {answer.id: answer.text for answer in fleet.generate(asked)}
    cpu, wall = sum(worker.cpu_times()[:2]) - before, time.perf_counter() - wall
    batches = {n: fleet.statistics[n] for n in ("batches", "requests", "seconds_idle")}
    fleet.close()
    return {
        "equal": got == wanted,
        "alone_cpu": round(alone_cpu, 2),
        "worker_cpu": round(cpu, 2),
        "price": round(cpu / alone_cpu - 1, 3),
        "alone_seconds": round(alone_wall, 2),
        "seconds": round(wall, 2),
        "batches": {"alone": alone.statistics["batches"], **batches},  # type: ignore[attr-defined]
    }


def pictures(rows: int) -> list[dict[str, Any]]:
    """Encoded by two workers, against the distinct ones that no cell before has shown."""
    found, known = [], set[str]()
    fleet = opened("demo", 2)
    for shots, support in ((0, "random"), (4, "fixed"), (4, "random")):
        asked = requests(rows, shots, support)
        before = fleet.statistics.get("pictures_encoded", 0)
        shown = {
            part.digest()
            for request in asked
            for turn in request.prompt.turns
            for part in turn.content
            if not isinstance(part, str)
        } - known
        known |= shown
        list(fleet.generate(asked))
        encoded = fleet.statistics["pictures_encoded"] - before
        told = {"shots": shots, "support": support, "new": len(shown), "encoded": encoded}
        found.append({**told, "times": round(encoded / max(1, len(shown)), 2)})
    fleet.close()
    return found


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--demo", type=int, default=120)
    said = parser.parse_args()
    told: dict[str, Any] = {}
    if said.rows:
        counts = [int(word) for word in said.workers.split(",")]
        told["scaling"] = scaling(counts, said.rows, said.delay)
    if said.demo:
        told["leases"], told["pictures"] = leases(said.demo), pictures(said.demo)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
