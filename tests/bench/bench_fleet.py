"""What a fleet costs and gains; prints JSON.

    python -m tests.bench.bench_fleet ready    [--workers 1,2,4] [--model fake]
    python -m tests.bench.bench_fleet scaling  [--workers 1,2,4,8] [--rows 600] [--delay 0.05]
    python -m tests.bench.bench_fleet driver   [--workers 2] [--rows 1800] [--delay 0.005]
    python -m tests.bench.bench_fleet leases   [--rows 240] [--most 8,32,256]
    python -m tests.bench.bench_fleet pictures [--rows 120]

``ready``: seconds from the start of a process until its workers are there, and processor seconds.
``scaling``: the fake model, seconds against the ideal, and the driver's processor time a sample.
``driver``: whose that is, Ray's or ours, and that of a whole run with its log.
``leases``: processor seconds of one worker of the demo model against the same model alone.
``pictures``: how many the demo model encodes as two workers, against the distinct ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil

os.environ["RAY_AUTH_MODE"] = "token"

from infimm_eval import models
from infimm_eval.models import ModelOptions
from infimm_eval.run import run as run_plan
from infimm_eval.run.plan import PlanRequest, plan
from infimm_eval.run.progress import ProgressListener
from infimm_eval.types import Request
from infimm_eval.workers.opening import Wanted, open_fleet
from tests.workers.asked import requests


def opened(spec: str, workers: int, **own: Any) -> Any:
    """A fleet whose workers are all there."""
    fleet = open_fleet(
        spec,
        ModelOptions(options=own),
        Wanted(workers=workers),
        say=lambda text: print(text, file=sys.stderr),
        count=lambda count: None,
    )
    while len(fleet._crew.live) < workers:
        fleet._crew.tend()
        fleet._crew.look(0.1)
    return fleet


def repeated(count: int) -> list[Request]:
    """So many requests, whatever the demo has."""
    return [replace(r, id=str(i)) for i, r in zip(range(count), cycle(requests(600)), strict=False)]


def ready(said: argparse.Namespace) -> list[dict[str, Any]]:
    """Each in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.bench_fleet", "up", "--model", said.model]
    return [
        json.loads(subprocess.check_output([*command, "--workers", str(workers)]))
        for workers in counts(said.workers)
    ]


def up(said: argparse.Namespace) -> dict[str, Any]:
    """The time and the work until all are there, by whose work it was."""
    here, (workers,) = psutil.Process(), counts(said.workers)
    fleet = opened(said.model, workers)
    seconds = time.time() - here.create_time()
    spent: Counter[str] = Counter()
    for process in here.children(recursive=True):
        spent[process.name()[:15]] += round(sum(process.cpu_times()[:2]), 2)  # type: ignore[assignment]
    driver = round(time.process_time(), 2)
    told = {"workers": workers, "seconds": round(seconds, 1), "driver_cpu": driver}
    fleet.close()
    return {**told, "cpu": round(driver + sum(spent.values()), 1), "others_cpu": dict(spent)}


def scaling(said: argparse.Namespace) -> list[dict[str, Any]]:
    """The first call of each fleet, which knows no pace yet, and the second."""
    asked, found = repeated(said.rows), []
    for workers in counts(said.workers):
        fleet = opened("fake", workers, delay=said.delay)
        for call in ("first", "second"):
            wall, cpu = time.perf_counter(), time.process_time()
            assert len(list(fleet.generate(asked))) == said.rows
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found.append(
                {
                    "workers": workers,
                    "call": call,
                    "seconds": round(wall, 2),
                    "of_ideal": round(said.rows * said.delay / workers / wall, 3),
                    "driver_ms_a_sample": round(1000 * cpu / said.rows, 3),
                }
            )
        fleet.close()
    return found


def driver(said: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds of processor a sample: of all threads; of others than that which asks (Ray,
    scoring); of what is called of Ray; and the rest, which is ours.  A run has its log and its keys
    besides; ``alone`` has no fleet."""
    asked, (workers,) = repeated(said.rows), counts(said.workers)
    fleet = opened("fake", workers, delay=said.delay)
    called = _timed_calls()
    found = []

    def measure(name: str, work: Callable[[], Any]) -> None:
        called.clear()
        cpu, main, wall = time.process_time(), time.thread_time(), time.perf_counter()
        work()
        cpu, main = time.process_time() - cpu, time.thread_time() - main
        wall = time.perf_counter() - wall
        inside = sum(called[name] for name in _CALLED)
        told = {"all": cpu, "other_threads": cpu - main, "ray_calls": inside, "ours": main - inside}
        each = {part: round(1000 * spent / len(asked), 3) for part, spent in told.items()}
        times = {
            name: [called[f"{name} times"], round(1000 * called[name] / len(asked), 3)]
            for name in _CALLED
        }
        found.append(
            {"of": name, "rows": len(asked), "seconds": round(wall, 1), **each, "calls": times}
        )

    def whole(model: Any) -> None:
        cells = PlanRequest(tasks=["vqav2"], shots=range(len(asked) // 600))
        chosen = plan(cells, data="demo", judge=None)
        with tempfile.TemporaryDirectory() as folder:
            run_plan(chosen, model, Path(folder), ProgressListener())

    measure("nothing, as long", lambda: time.sleep(said.rows * said.delay / workers))
    for _ in range(2):
        measure("generate", lambda: list(fleet.generate(asked)))
    measure("run", lambda: whole(fleet))
    measure("run alone", lambda: whole(models.load("fake")))
    fleet.close()
    return found


_CALLED = ("wait", "get", "remote")


def _timed_calls() -> Counter[str]:
    """Seconds of this thread's processor in what is called of Ray, from now on."""
    import ray
    from ray.actor import ActorMethod

    spent: Counter[str] = Counter()
    for owner, name in zip((ray, ray, ActorMethod), _CALLED, strict=True):
        setattr(owner, name, _timed(getattr(owner, name), name, spent))
    return spent


def _timed(call: Callable[..., Any], name: str, spent: Counter[str]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.thread_time()
        try:
            return call(*args, **kwargs)
        finally:
            spent[name] += time.thread_time() - began  # type: ignore[assignment]
            spent[f"{name} times"] += 1

    return timed


def leases(said: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds: with shots, so that batches matter.  The same worker, by leases of at most
    so many requests."""
    asked = requests(said.rows, shots=4)
    alone = models.load("demo")
    list(alone.generate(asked))  # pictures are encoded once for all that follow
    began, wall = time.process_time(), time.perf_counter()
    wanted = {answer.id: answer.text for answer in alone.generate(asked)}
    alone_cpu, alone_wall = time.process_time() - began, time.perf_counter() - wall
    fleet = opened("demo", 1)
    list(fleet.generate(asked))
    worker = psutil.Process(fleet._crew.live[0].who.pid)
    found = []
    for most in counts(said.most):
        fleet._pace.most = most
        before, cpu, wall = fleet.statistics, sum(worker.cpu_times()[:2]), time.perf_counter()
        got = {answer.id: answer.text for answer in fleet.generate(asked)}
        cpu, wall = sum(worker.cpu_times()[:2]) - cpu, time.perf_counter() - wall
        after = fleet.statistics
        told = {"most": most, "equal": got == wanted, "price": round(cpu / alone_cpu - 1, 3)}
        told |= {"cpu": round(cpu, 2), "seconds": round(wall, 2)}
        counted = ("batches", "steps", "seconds_idle", "fleet_leases")
        found.append(told | {n: round(after.get(n, 0) - before.get(n, 0), 2) for n in counted})
    fleet.close()
    told = {"cpu": round(alone_cpu, 2), "seconds": round(alone_wall, 2)}
    return {"alone": told, "worker": found}


def pictures(said: argparse.Namespace) -> list[dict[str, Any]]:
    """Encoded by two workers that have seen none, against the distinct ones."""
    found = []
    for shots, support in ((0, "random"), (4, "fixed"), (4, "random")):
        asked = requests(said.rows, shots, support)
        shown = {
            part.digest()
            for request in asked
            for turn in request.prompt.turns
            for part in turn.content
            if not isinstance(part, str)
        }
        fleet = opened("demo", 2)
        list(fleet.generate(asked))
        counted = fleet.statistics
        fleet.close()
        told = {"shots": shots, "support": support, "distinct": len(shown)}
        told |= {name: counted.get(f"pictures_{name}", 0) for name in ("encoded", "from_disk")}
        found.append({**told, "times": round(told["encoded"] / len(shown), 2)})
    return found


def counts(words: str) -> list[int]:
    """``1,2,4``."""
    return [int(word) for word in words.split(",")]


PARTS: dict[str, tuple[Callable[[argparse.Namespace], Any], dict[str, Any]]] = {
    "ready": (ready, {"workers": "1,2,4", "model": "fake"}),
    "up": (up, {"workers": "1", "model": "fake"}),
    "scaling": (scaling, {"workers": "1,2,4,8", "rows": 600, "delay": 0.05}),
    "driver": (driver, {"workers": "2", "rows": 1800, "delay": 0.005}),
    "leases": (leases, {"rows": 240, "most": "8,32,256"}),
    "pictures": (pictures, {"rows": 120}),
}


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parts = parser.add_subparsers(dest="part", required=True)
    for name, (_, usual) in PARTS.items():
        part = parts.add_parser(name)
        for option, value in usual.items():
            part.add_argument(f"--{option}", type=type(value), default=value)
    said = parser.parse_args()
    print(json.dumps(PARTS[said.part][0](said), indent=1))


if __name__ == "__main__":
    main()
