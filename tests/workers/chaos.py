"""The same run over and over while workers, nodes and the driver die: nothing may differ.

    python -m tests.workers.chaos FOLDER [--model fake|demo] [--events N] [--gap SECONDS] [--seed N]

Two nodes on this machine, held by this process; the driver is a process of its own.  Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}  # before ray is imported
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

DRIVER = Path(__file__).with_name("chaos_driver.py")
WORKERS, STORE = 4, 100 << 20
EVENTS: Mapping[str, Mapping[str, int]] = {
    "fake": {"kill": 40, "stop": 8, "continue": 4, "driver": 8, "node": 6, "slow": 8, "other": 8},
    "demo": {"kill": 40, "stop": 8, "continue": 4, "driver": 8, "node": 6},
}
"""How often: kill -9 a worker; SIGSTOP one, and SIGCONT; kill -9 the driver and begin again; a node
goes and another comes; a worker is killed, and the next one is slow, or of other weights."""


def answers(folder: Path) -> list[tuple[str, ...]]:
    """Every answer in the log."""
    with sqlite3.connect(folder / "run.db") as db:
        return sorted(db.execute("SELECT key, text, finish, logliks, notes FROM answer"))


def figures(folder: Path) -> str:
    """``results.json`` but for times and who answered."""
    body = json.loads((folder / "results.json").read_text())
    for cell in body["cells"]:
        for name in ("seconds", "statistics", "workers"):
            del cell[name]
        del cell["settings"]["code"]["device"]
    return json.dumps(body)


class Chaos:
    """A cluster of two nodes, and what happens to it."""

    def __init__(self, folder: Path, model: str, gap: float, seed: int, limit: int) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.model, self.gap, self.limit = folder, model, gap, limit
        self.random = random.Random(seed)
        self.events: Counter[str] = Counter()
        self.stopped: set[int] = set()
        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.node(), self.node()]

    def node(self) -> Any:
        """One more."""
        return self.cluster.add_node(num_cpus=WORKERS // 2, object_store_memory=STORE)

    def driver(self, output: Path, *more: str) -> subprocess.Popen[str]:
        """The run, begun or gone on with."""
        told = ["--model", self.model, "--limit", str(self.limit), *more]
        command = [sys.executable, str(DRIVER), str(output), str(self.folder), *told]
        with output.with_suffix(".err").open("a") as err:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True)

    def drive(self, output: Path) -> subprocess.Popen[str]:
        """The run on the cluster, once it is up."""
        driver = self.driver(output, "--ray", self.cluster.address)
        assert driver.stdout is not None
        driver.stdout.readline()
        return driver

    def run(self, output: Path, quota: int) -> dict[str, Any]:
        """One run to its end, with at most ``quota`` events."""
        began, away, happened = time.time(), 0.0, 0
        driver = self.drive(output)
        while driver.poll() is None:
            time.sleep(self.random.uniform(0.2, 2 * self.gap) if happened < quota else 0.1)
            if happened >= quota or driver.poll() is not None:
                continue
            kinds = EVENTS[self.model]
            kind = self.random.choices(list(kinds), list(kinds.values()))[0]
            if kind == "driver":
                driver.kill()
                driver.wait()
                at = time.time()
                driver = self.drive(output)
                away += time.time() - at
            elif not self.strike(kind):
                continue
            happened += 1
            self.events[kind] += 1
        wall = round(time.time() - began - away, 1)
        return {"rc": driver.returncode, "events": happened, "seconds": wall}

    def strike(self, kind: str) -> bool:
        """Let something happen; False where it could not."""
        if kind == "node":
            gone = self.nodes.pop(self.random.randrange(len(self.nodes)))
            self.cluster.remove_node(gone, allow_graceful=False)
            time.sleep(self.random.uniform(0, 2))
            self.nodes.append(self.node())
            return True
        there = self.stopped if kind == "continue" else self.workers()
        if not there:
            return False
        if kind in ("slow", "other"):
            (self.folder / "mood").write_text(kind)
        victim = self.random.choice(sorted(there))
        sent = {"stop": signal.SIGSTOP, "continue": signal.SIGCONT}.get(kind, signal.SIGKILL)
        try:
            os.kill(victim, sent)
        except ProcessLookupError:
            return False
        (self.stopped.add if kind == "stop" else self.stopped.discard)(victim)
        return True

    def workers(self) -> set[int]:
        """The processes of workers that go about their business."""
        found = set()
        for process in psutil.Process().children(recursive=True):
            try:
                if process.cmdline()[0].startswith("ray::Worker"):
                    found.add(process.pid)
            except (psutil.Error, IndexError):
                continue
        return found - self.stopped


def storm(folder: Path, *, model: str, events: int, gap: float, seed: int, limit: int = 600) -> Any:
    """Run after run until so many events have happened, and what was lost, doubled or strange."""
    folder.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(folder, model, gap, seed, limit)
    told: dict[str, Any] = {"model": model, "runs": 0, "seconds": 0.0, "unequal": 0, "rc": []}
    told |= {"lost": 0, "strange": 0, "doubled": 0}
    try:
        alone = folder / "alone"
        chaos.driver(alone).wait()
        wanted = answers(alone)
        while (left := events - chaos.events.total()) > 0:
            output = folder / f"run{told['runs']}"
            ended = chaos.run(output, left)
            got = answers(output)
            told["runs"] += 1
            told["seconds"] += ended["seconds"]
            told["rc"].append(ended["rc"])
            told["lost"] += len({*wanted} - {*got})
            told["strange"] += len({*got} - {*wanted})
            told["doubled"] += len(got) - len({*got})
            told["unequal"] += ended["rc"] == 0 and figures(output) != figures(alone)
    finally:
        chaos.cluster.shutdown()
    return {**told, "events": dict(chaos.events)}


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=list(EVENTS), default="fake")
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--gap", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=600)
    said = parser.parse_args()
    chosen = {name: getattr(said, name) for name in ("model", "events", "gap", "seed", "limit")}
    print(json.dumps(storm(said.folder, **chosen)))


if __name__ == "__main__":
    main()
