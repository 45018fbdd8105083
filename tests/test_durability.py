"""What a run survives: kill -9 at any moment, Ctrl-C, a full disk; and that it calls nobody."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infimm_eval import cli, logs

LIMIT = 120


def start(folder: Path, *more: str, delay: float = 0.004, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "infimm_eval", "--model", f"fake:?delay={delay}", *more]
    command += ["--tasks", "vqav2", "--data", "demo", "--output", str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **how)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def answers(folder: Path) -> dict[str, str]:
    """The answers on disk by their keys; none where nothing was written yet."""
    if not (folder / logs.FILE).exists():
        return {}
    db = sqlite3.connect(folder / logs.FILE, timeout=10)
    try:
        return dict(db.execute("SELECT key, text FROM answer").fetchall())
    except sqlite3.OperationalError:
        return {}
    finally:
        db.close()


def wait_for_answers(folder: Path) -> None:
    patience = time.monotonic() + 60
    while not answers(folder):
        assert time.monotonic() < patience
        time.sleep(0.05)


def results(folder: Path) -> Any:
    """``results.json`` but for times."""
    body = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    for cell in body["cells"]:
        del cell["seconds"], cell["statistics"]
    return body


def statistics(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())["cells"][0]["statistics"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that nothing happened to, and its seconds."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    began = time.monotonic()
    assert finish(start(folder, "--limit", str(LIMIT)))[0] == 0
    return folder, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, pytest.param(24, marks=pytest.mark.slow)])
def test_kills_at_any_moment_lose_nothing_and_ask_nothing_twice(
    kills: int, undisturbed: tuple[Path, float], tmp_path: Path
) -> None:
    whole, seconds = undisturbed
    folder, moments = tmp_path / "run", random.Random(kills)
    kept: dict[str, str] = {}
    for _ in range(kills):
        process = start(folder, "--limit", str(LIMIT))
        time.sleep(moments.uniform(0.2, 1.0) * seconds)
        process.kill()
        finish(process)
        now = answers(folder)
        assert kept.items() <= now.items()
        kept = now
    code, said = finish(start(folder, "--limit", str(LIMIT)))
    assert code == 0, said
    assert statistics(folder)["answers"] == LIMIT - len(kept)
    assert answers(folder) == answers(whole) and len(answers(folder)) == LIMIT
    assert results(folder) == results(whole)


@pytest.mark.slow
def test_a_stop_by_the_keyboard_is_one_line_and_the_run_goes_on(tmp_path: Path) -> None:
    # A shell starts what runs in the background, these tests perhaps, deaf to the keyboard.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = start(tmp_path / "run", "--limit", "40", delay=0.03, preexec_fn=heard)
    wait_for_answers(tmp_path / "run")
    process.send_signal(signal.SIGINT)
    code, said = finish(process)
    line = "infimm-eval: stopped; every answer so far is kept, the same command continues"
    assert code == 3
    assert said.rstrip().splitlines()[-1] == line and "Traceback" not in said
    kept = len(answers(tmp_path / "run"))
    assert 0 < kept < 40
    assert finish(start(tmp_path / "run", "--limit", "40", delay=0.03))[0] == 0
    assert statistics(tmp_path / "run")["answers"] == 40 - kept


@pytest.mark.slow
def test_two_runs_never_write_one_folder(tmp_path: Path) -> None:
    first = start(tmp_path / "run", "--limit", "40", delay=0.3)
    wait_for_answers(tmp_path / "run")
    code, said = finish(start(tmp_path / "run", "--limit", "40", delay=0.3))
    assert code == 2 and "is being written by another run" in said
    assert finish(first)[0] == 0


def test_a_folder_that_cannot_be_written_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    words = ["--model", "fake", "--tasks", "vqav2", "--data", "demo", "--limit", "1", "-q"]
    assert cli.main([*words, "--output", str(tmp_path / "taken" / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("infimm-eval: cannot write to") and "choose another --output" in line


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_one_line_and_keeps_what_was_answered(
    tmp_path: Path,
) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    folder = tmp_path / "run"
    process = start(folder, "--limit", "300", "-q", delay=0.001, preexec_fn=small_disk)
    code, said = finish(process)
    assert code == 3, said
    (line,) = said.splitlines()
    assert line.startswith("infimm-eval: ") and "kept" in line
    kept = answers(folder)
    assert finish(start(folder, "--limit", "300", delay=0.001))[0] == 0
    assert kept.items() <= answers(folder).items() and len(answers(folder)) == 300


WATCHED = """
import os, sys
def hook(event, args):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"):
        os.write(2, f"opened: {event}".encode())
        os._exit(97)
sys.addaudithook(hook)
from infimm_eval.cli import main
sys.exit(main(sys.argv[1:]))
"""


def watched(*args: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that dies where it opens a socket."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *args], capture_output=True, text=True, env=environment
    )


def silent_on(place: Path | str, output: Path) -> None:
    done = watched(
        *("--model", "fake:yes", "--tasks", "vqav2", "--shots", "0,2", "--limit", "3"),
        *("--data", str(place), "--output", str(output)),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_connection_is_opened_on_the_demo(tmp_path: Path) -> None:
    silent_on("demo", tmp_path / "run")


@pytest.mark.slow
def test_no_connection_is_opened_on_files(data_folder: Path, tmp_path: Path) -> None:
    silent_on(data_folder, tmp_path / "run")


@pytest.mark.slow
def test_the_hub_opens_one(tmp_path: Path) -> None:
    done = watched(
        *("--model", "fake:yes", "--tasks", "vqav2", "--limit", "1", "--data", "hub"),
        *("--output", str(tmp_path / "run")),
    )
    assert done.returncode == 97, done.stderr


@pytest.mark.slow
def test_sigterm_is_one_line_and_the_run_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "--limit", "40", delay=0.03)
    wait_for_answers(tmp_path / "run")
    process.terminate()
    code, said = finish(process)
    assert code == 3 and "Traceback" not in said
    assert said.rstrip().splitlines()[-1].startswith("infimm-eval: stopped; every answer so far")


@pytest.mark.slow
def test_two_quick_stops_by_the_keyboard_are_one(tmp_path: Path) -> None:
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = start(tmp_path / "run", "--limit", "40", delay=0.03, preexec_fn=heard)
    wait_for_answers(tmp_path / "run")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    code, said = finish(process)
    assert code == 3 and "Traceback" not in said


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_regression(tmp_path: Path) -> None:
    assert finish(start(tmp_path / "run", "--limit", "5", "-q"))[0] == 0
    words = [sys.executable, "-m", "infimm_eval", "compare", "run", "run", "--gate"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) in (0, 3)


@pytest.mark.slow
def test_quiet_hides_progress_and_tells_why_a_run_is_incomplete(tmp_path: Path) -> None:
    words = ("--model", "fake:?error_every=3", "--limit", "9", "-q")
    code, said = finish(start(tmp_path / "run", *words))
    assert code == 3 and said == "VQAv2: 3 questions failed (as asked)\n"


@pytest.mark.slow
def test_closed_error_output_costs_nothing(tmp_path: Path) -> None:
    words = f"{sys.executable} -m infimm_eval --model fake:yes --tasks vqav2 --data demo --limit 2"
    closed = f"{words} --output {tmp_path / 'run'} 2>&-"
    done = subprocess.run(["sh", "-c", closed], capture_output=True, text=True)
    assert done.returncode == 0 and "VQAv2" in done.stdout
