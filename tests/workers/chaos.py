"""The same run over and over while workers, nodes and the driver die: nothing may differ.

    python -m tests.workers.chaos FOLDER [--models fake,demo] [--events N] [--minutes N] [--gap S]

Two nodes on this machine, held by this process; the driver is a process of its own.  The models
take turns, a run each.  Prints JSON, which ``FOLDER/totals.json`` has so far after every run.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil

os.environ |= {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}  # before ray is imported
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

from infimm_eval.workers.cluster import few_helpers

DRIVER = Path(__file__).with_name("chaos_driver.py")
WORKERS, STORE = 4, 100 << 20
EVENTS: Mapping[str, int] = {
    "kill": 30,
    "stop": 8,
    "continue": 6,
    "slow": 8,
    "other": 8,
    "poison": 8,
    "driver": 5,
    "node": 3,
    "join": 3,
}
"""How often: kill -9 a worker; SIGSTOP one, and SIGCONT; a worker is killed, and the next one is
slow, or of other weights; a question kills whoever is asked it, one to three times; kill -9 the
driver, and begin again; kill -9 a node, and another comes; a third node comes, or goes."""
TICK = 0.1


def answers(folder: Path) -> list[tuple[str, ...]]:
    """Every answer in the log."""
    return sorted(_read(folder, "SELECT key, text, finish, logliks, notes FROM answer"))


def unanswered(folder: Path) -> list[str]:
    """Questions that have been put and not been answered."""
    asked = "SELECT id FROM entry WHERE answer NOT IN (SELECT key FROM answer) ORDER BY position"
    return [id for (id,) in _read(folder, asked)]


def _read(folder: Path, query: str) -> list[tuple[str, ...]]:
    """Nothing where there is no log yet."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


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

    def __init__(self, folder: Path, *, gap: float, seed: int, limit: int, delay: float) -> None:
        import ray
        from ray.cluster_utils import Cluster

        self.ray = ray
        self.folder, self.gap, self.limit, self.delay = folder, gap, limit, delay
        self.random = random.Random(seed)
        self.events: Counter[str] = Counter()
        self.stopped: set[int] = set()
        self.poisoned = 0
        """Deaths after which there is no poison any more."""
        self.cluster = Cluster()
        self.node(0)  # the head
        self.nodes = [self.node(), self.node()]
        self.guest: Any = None

    def node(self, cpus: int = WORKERS // 2) -> Any:
        """One more.  Ray gives its own processes 30 seconds, whatever else a machine does."""
        for patience in (3, 2, 1):
            before = _descendants()
            try:
                with few_helpers(self.ray):
                    return self.cluster.add_node(
                        num_cpus=cpus, object_store_memory=STORE, include_dashboard=False
                    )
            except Exception as error:  # of no type of its own
                if "timed out during startup" not in str(error) or patience == 1:
                    raise
                for process in _descendants() - before:
                    process.kill()
        raise AssertionError("the last attempt returns or raises")

    def driver(self, model: str, output: Path, *more: str) -> subprocess.Popen[str]:
        """The run, begun or gone on with."""
        told = ["--model", model, "--limit", str(self.limit), "--delay", str(self.delay), *more]
        command = [sys.executable, str(DRIVER), str(output), str(self.folder), *told]
        with output.with_suffix(".err").open("a") as err:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True)

    def drive(self, model: str, output: Path) -> subprocess.Popen[str]:
        """The run on the cluster, once it is up."""
        more = ("--ray", self.cluster.address, "--workers", str(WORKERS + 1))
        driver = self.driver(model, output, *more)
        assert driver.stdout is not None
        driver.stdout.readline()
        return driver

    def run(self, model: str, output: Path, quota: int) -> list[int]:
        """One run, gone on with until everything is answered, with at most ``quota`` events.  How
        the driver ended, each time that it was not killed."""
        codes: list[int] = []
        driver = self.drive(model, output)
        for _ in self.moments():
            if driver.poll() is not None:
                codes.append(driver.returncode)
                self.cure()
                if (driver.returncode == 0 and not unanswered(output)) or len(codes) > 3:
                    return codes
                driver = self.drive(model, output)
            kind = self.random.choices(list(EVENTS), list(EVENTS.values()))[0]
            if self.events.total() >= quota or driver.poll() is not None:
                continue
            if kind == "driver":
                driver.kill()
                driver.wait()
                driver = self.drive(model, output)
            elif not self.strike(kind, output):
                continue
            self.events[kind] += 1
        raise AssertionError("there are always further moments")

    def moments(self) -> Iterator[None]:
        """Moments at which something may happen."""
        while True:
            until = time.monotonic() + self.random.uniform(TICK, 2 * self.gap)
            while time.monotonic() < until:
                time.sleep(TICK)
                if self.poisoned and self.deaths() >= self.poisoned:
                    self.cure()
            yield

    def strike(self, kind: str, output: Path) -> bool:
        """Let something happen; False where it could not."""
        strikes: dict[str, Callable[[], bool]] = {
            "node": self.lose_node,
            "join": self.join,
            "poison": lambda: self.poison(output),
        }
        return strikes[kind]() if kind in strikes else self.send(kind)

    def lose_node(self) -> bool:
        """A node dies with its workers, and another comes."""
        gone = self.nodes.pop(self.random.randrange(len(self.nodes)))
        self.cluster.remove_node(gone, allow_graceful=False)
        time.sleep(self.random.uniform(0, 2))
        self.nodes.append(self.node())
        return True

    def join(self) -> bool:
        """A node with room for one worker comes, or dies if it is there."""
        if self.guest is None:
            self.guest = self.node(cpus=1)
        else:
            self.cluster.remove_node(self.guest, allow_graceful=False)
            self.guest = None
        return True

    def poison(self, output: Path) -> bool:
        """One of the questions that are with workers, or will be, kills."""
        if self.poisoned or not (asked := unanswered(output)):
            return False
        (self.folder / "deaths").unlink(missing_ok=True)
        (self.folder / "poison").write_text(self.random.choice(asked))
        self.poisoned = self.random.randint(1, 3)
        return True

    def deaths(self) -> int:
        """Of the poison that there is."""
        file = self.folder / "deaths"
        return len(file.read_text().split()) if file.exists() else 0

    def cure(self) -> None:
        """No question kills."""
        (self.folder / "poison").unlink(missing_ok=True)
        self.poisoned = 0

    def send(self, kind: str) -> bool:
        """A signal to one worker."""
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
            self.stopped.discard(victim)
            return False
        (self.stopped.add if kind == "stop" else self.stopped.discard)(victim)
        return True

    def workers(self) -> set[int]:
        """The processes of workers that go about their business."""
        found = set()
        for process in _descendants():
            try:
                if process.cmdline()[0].startswith("ray::Worker"):
                    found.add(process.pid)
            except (psutil.Error, IndexError):
                continue
        return found - self.stopped


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def storm(
    folder: Path, models: list[str], *, events: int, minutes: float, **manner: Any
) -> dict[str, Any]:
    """Run after run until so many events have happened, or so long a time has passed; and what was
    lost, doubled or strange."""
    folder.mkdir(parents=True, exist_ok=True)
    chaos, began = Chaos(folder, **manner), time.monotonic()
    told: Counter[str] = Counter(runs=0, ended=0, lost=0, strange=0, doubled=0, unequal=0)
    codes: Counter[str] = Counter()
    turns, by_model = cycle(models), dict.fromkeys(models, 0)
    body: dict[str, Any] = {}
    try:
        for model in models:
            chaos.driver(model, folder / model).wait()
        while chaos.events.total() < events and time.monotonic() - began < 60 * minutes:
            model, before = next(turns), chaos.events.total()
            output = folder / f"run{told['runs']}"
            ended = chaos.run(model, output, events)
            codes.update(map(str, ended))
            by_model[model] += chaos.events.total() - before
            told.update(_compared(output, folder / model))
            told["runs"] += 1
            told["ended"] += ended[-1] == 0
            body = {
                "events": dict(chaos.events),
                "events_by_model": by_model,
                "exit_codes": dict(codes),
                **told,
                "seconds": round(time.monotonic() - began),
            }
            (folder / "totals.json").write_text(json.dumps(body))
    finally:
        chaos.cluster.shutdown()
    return body


def _compared(output: Path, alone: Path) -> Counter[str]:
    """A run that is over, beside that of one process."""
    wanted, got = answers(alone), answers(output)
    return Counter(
        lost=len({*wanted} - {*got}),
        strange=len({*got} - {*wanted}),
        doubled=len(got) - len({row[0] for row in got}),
        unequal=figures(output) != figures(alone),
    )


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", default="fake,demo")
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=60.0, help="no further run after these")
    parser.add_argument("--gap", type=float, default=3.0, help="mean seconds between events")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=600)
    parser.add_argument("--delay", type=float, default=0.3, help="seconds a question")
    said = vars(parser.parse_args())
    print(json.dumps(storm(said.pop("folder"), said.pop("models").split(","), **said)))


if __name__ == "__main__":
    main()
