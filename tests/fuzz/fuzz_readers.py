"""Damages small files of every kind and has them read: a refusal is one line and exit code 2.

python -m tests.fuzz.fuzz_readers [--files 2000] [--seed 0] [--keep FOLDER]

Prints a JSON summary: tracebacks, hangs over ten seconds, wrong exit codes, each by reader with
the first of its kind.  Each file is read in a worker that is given so long and so much memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import random
import resource
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.fuzz.damage import damaged
from tests.fuzz.seeds import Seed, seeds

PATIENCE = 10.0
MEMORY = 6 << 30


@dataclass(frozen=True)
class Finding:
    """What went wrong with one damaged file."""

    kind: str
    reader: str
    told: str
    data: bytes
    suffix: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--keep", type=Path, help="where the files that went wrong are kept")
    options = parser.parse_args()
    began = time.monotonic()
    codes: Counter[str] = Counter()
    findings: list[Finding] = []
    for code, finding in fuzz(options.files, options.seed, options.only):
        codes[str(code)] += 1
        if finding:
            findings.append(finding)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for number, finding in enumerate(findings):
            (options.keep / f"{number}-{finding.kind}{finding.suffix}").write_bytes(finding.data)
    print(json.dumps(summary(codes, findings, time.monotonic() - began), indent=1))


def summary(codes: Counter[str], findings: list[Finding], seconds: float) -> dict[str, Any]:
    by_kind: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for finding in findings:
        shown = by_kind[finding.kind].setdefault(
            f"{finding.reader}: {finding.told.strip().splitlines()[-1][:200]}",
            {"count": 0, "told": finding.told[-1500:]},
        )
        shown["count"] += 1
    counted = Counter(finding.kind for finding in findings)
    return {
        "files": sum(codes.values()),
        "exit_codes": codes,
        "tracebacks": counted["traceback"],
        "hangs": counted["hang"],
        "wrong_exit_codes": counted["code"],
        "seconds": round(seconds),
        "findings": by_kind,
    }


def fuzz(files: int, seed: int, only: str = "") -> Iterator[tuple[int | None, Finding | None]]:
    """Each file's exit code (``None``: it never came), and what was wrong with it."""
    rng = random.Random(seed)
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        made = [s for s in seeds(Path(folder)) if only in s.name]
        for known in made:
            with _silence() as told:
                code = known.read()
            assert code == 0, (known.name, told.getvalue())
        worker = _Worker(context, made)
        try:
            for number in range(files):
                at = number % len(made)
                whole = made[at].path.read_bytes()
                data = damaged(whole, made[at].path.suffix, rng)
                made[at].path.write_bytes(data)
                answer = worker.ask(at)
                made[at].path.write_bytes(whole)
                if answer is None:
                    worker.close()
                    worker = _Worker(context, made)
                yield judged(answer, made[at], data)
        finally:
            worker.close()


Reply = tuple[int | None, str]


def judged(reply: Reply | None, seed: Seed, data: bytes) -> tuple[int | None, Finding | None]:
    """What a reply says of the reader: no code is a traceback, no reply a hang."""
    code, told = reply or (None, "")
    kind = (
        ""
        if code in (0, 2)
        else "hang"
        if reply is None
        else "traceback"
        if code is None
        else "code"
    )
    if "Traceback" in told:
        kind = "traceback"
    if not kind and code == 2 and not _is_a_line(told):
        kind = "code"
    made = Finding(kind, seed.name, told or "no reply", data, seed.path.suffix)
    return code, made if kind else None


def _is_a_line(told: str) -> bool:
    lines = told.rstrip("\n").split("\n")
    return not told or (len(lines) == 1 and lines[0].isprintable())


class _Worker:
    """A process that reads one file after another."""

    def __init__(self, context: Any, made: list[Seed]) -> None:
        self._here, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, made), daemon=True)
        self._process.start()

    def ask(self, at: int) -> Reply | None:
        """``None`` where nothing came in time, or the process has died."""
        try:
            self._here.send(at)
            return self._here.recv() if self._here.poll(PATIENCE) else None
        except (EOFError, BrokenPipeError):
            return (None, "the process died")

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _work(there: Connection, made: list[Seed]) -> None:
    # Beside what the process has mapped already: with less, not even its stack could grow.
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    while True:
        there.send(read(made[there.recv()]))


def read(seed: Seed) -> Reply:
    """The exit code and what was told on stderr; of a traceback, no code."""
    with _silence() as told:
        try:
            return seed.read(), told.getvalue()
        except Exception:  # noqa: BLE001  whatever it is, it is what is looked for
            return None, traceback.format_exc()


@contextlib.contextmanager
def _silence() -> Iterator[io.StringIO]:
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        yield told


if __name__ == "__main__":
    main()
