"""Kills of a watch at any moment: what is lost, and what is asked twice.  Prints one JSON object.

Run by hand, never by the tests:
    python -m tests.series.kills [--kills 100] [--seed 0]

A training leaves four checkpoints, some while the watch goes on.  Every watch is a process of its
own (forked, so that imports cost nothing) and is killed after a random part of the time that an
undisturbed one takes, again and again; the last of a series is left alone.  Then another series
begins, in another way of watching.

`lost` are answers that were on disk and are not, or are other ones; `twice` are questions that the
model was asked although their answers were on disk; `unequal` are series that ended otherwise than
the undisturbed one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any

from infimm_eval import cli
from tests.series.training import RIGHT, Training, answered, answers, results

SAYS = {1: RIGHT, 2: "no", 3: "zzz", 4: RIGHT}
"""What the checkpoints say, by step."""
LONGEST = 0.4
"""Of the time of an undisturbed watch, before a kill."""


@dataclass
class Found:
    """What the kills have brought to light."""

    kills: int = 0
    series: int = 0
    lives: int = 0
    lost: int = 0
    twice: int = 0
    unequal: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    """Of watches that were left alone; 0 is wanted."""


def ways(base: Path) -> list[tuple[str, ...]]:
    against = ("--baseline", str(base))
    return [
        ("--best",),
        ("--best", "--first", "20"),
        (*against, "--first", "20"),
        (*against, "--stop-when-decided", "--planned", "4"),
    ]


def watched(words: Sequence[str], seconds: float, meanwhile: Callable[[], None]) -> int | None:
    """The exit code of a watch; `None` where it was killed after so many seconds."""
    process = os.fork()
    if not process:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1), os.dup2(silent, 2)
        os._exit(cli.main(words))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        meanwhile()
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)


@dataclass
class Round:
    """One series under kills."""

    training: Training
    way: tuple[str, ...]
    luck: random.Random
    found: Found

    @property
    def words(self) -> list[str]:
        more = ("--once", "-q", "--every", "0.1", "--model-option", "delay=0.004")
        return self.training.command(*self.way, *more)[3:]

    def undisturbed(self) -> tuple[Any, float]:
        """What comes of it without kills, and after how many seconds.  In this process, so that
        those to come have nothing to import."""
        self.begin(4)
        began = time.monotonic()
        with redirect_stdout(StringIO()):
            code = cli.main(self.words)
        assert code == 0, f"exit code {code} without any kill"
        return results(self.training.output), time.monotonic() - began

    def begin(self, checkpoints: int) -> None:
        shutil.rmtree(self.training.output, ignore_errors=True)
        shutil.rmtree(self.training.folder)
        self.training.folder.mkdir()
        for step in range(1, checkpoints + 1):
            self.training.save(step, SAYS[step])

    def save_next(self) -> None:
        """The training goes on."""
        there = len(list(self.training.folder.iterdir()))
        if there < len(SAYS):
            self.training.save(there + 1, SAYS[there + 1])

    def run(self, expected: Any, seconds: float, most: int) -> None:
        """Kills until the series is done, `most` of them at the most."""
        self.begin(2)
        self.found.series += 1
        for _ in range(most):
            moment = self.luck.uniform(0, LONGEST) * seconds
            if self.life(moment, arrives=self.luck.uniform(0, 3) * moment) is not None:
                break
            self.found.kills += 1
        while len(list(self.training.folder.iterdir())) < len(SAYS):
            self.save_next()
        code = self.life(600, arrives=600)
        self.found.exit_codes.append(-1 if code is None else code)
        if results(self.training.output) != expected:
            self.found.unequal.append(" ".join(self.way))

    def life(self, seconds: float, arrives: float) -> int | None:
        """One watch; a checkpoint arrives meanwhile, if that is before the end."""
        kept, done = answers(self.training.output), answered(self.training.output)
        before, arrival = len(self.training.asked), time.monotonic() + arrives

        def meanwhile() -> None:
            nonlocal arrival
            if time.monotonic() >= arrival:
                self.save_next()
                arrival = float("inf")

        code = watched(self.words, seconds, meanwhile)
        self.found.lives += 1
        now, asked = answers(self.training.output), self.training.asked[before:]
        self.found.lost += sum(now.get(key) != text for key, text in kept.items())
        self.found.twice += len(done.intersection(asked)) + len(asked) - len(set(asked))
        return code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found, luck, began = Found(), random.Random(args.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="series-kills-") as scratch:
        training = Training(Path(scratch))
        base = training.baseline()
        known: dict[tuple[str, ...], tuple[Any, float]] = {}
        for way in cycle(ways(base)):
            if found.kills >= args.kills:
                break
            one = Round(training, way, luck, found)
            if way not in known:
                known[way] = one.undisturbed()
            one.run(*known[way], most=args.kills - found.kills)
    bad = found.lost or found.twice or found.unequal or any(found.exit_codes)
    print(json.dumps({**vars(found), "seconds": round(time.monotonic() - began)}, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
