"""The folder of a cluster: whose it is, and when it goes; without Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infimm_eval.workers.scratch import PREFIX, Scratch, Shared, sweep


@pytest.fixture(autouse=True)
def tmp(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    tmp_path_factory.getbasetemp()  # else the first to want one would have it in here
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder:  # pytest's is too long
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


def test_no_folder_has_too_long_a_path_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    made = Scratch()
    assert len(str(made.path)) < 45
    made.close()


def test_a_folder_goes_with_its_maker(tmp: Path) -> None:
    made = Scratch()
    (made.path / "logs").mkdir()
    made.close()
    made.close()
    assert not list(tmp.iterdir())


def test_what_is_in_use_or_not_ours_stays(tmp: Path) -> None:
    made = Scratch()
    (tmp / f"{PREFIX}123").mkdir()  # a job's of SLURM, say
    sweep()
    assert {made.path, tmp / f"{PREFIX}123"} == set(tmp.iterdir())
    made.close()


def test_what_was_written_after_the_end_goes_later(tmp: Path) -> None:
    made = Scratch()
    made.close()
    (made.path / "session").mkdir(parents=True)
    sweep()
    assert made.path.exists()
    os.utime(made.path, (0, 0))
    sweep()
    assert not list(tmp.iterdir())


def test_what_workers_share_stays_while_one_of_them_is_there(tmp: Path) -> None:
    first, second = Shared("0f"), Shared("0f")
    assert first.path == second.path
    (first.path / "latents").touch()
    first._lock.close()  # as the system does for one that is killed
    sweep()
    assert (second.path / "latents").exists()
    second._lock.close()
    sweep()
    assert not list(tmp.iterdir())


def test_a_worker_that_starts_leaves_alone_what_another_is_about_to_hold(tmp: Path) -> None:
    first = Shared("0f")
    first._lock.close()  # as before it has taken hold of it
    (first.path / "latents").touch()
    Shared("0f")._lock.close()
    assert (first.path / "latents").exists()


def test_what_workers_share_goes_with_the_run(tmp: Path) -> None:
    first, second = Shared("0f"), Shared("0f")
    (first.path / "latents").touch()
    first.remove()
    second.remove()
    assert not list(tmp.iterdir())


def test_the_folder_of_one_that_was_killed_goes_when_the_next_is_made(tmp: Path) -> None:
    code = (
        "import sys, time; from infimm_eval.workers.scratch import Scratch; "
        "made = Scratch(); (made.path / 'log').touch(); print('up', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None and other.stdout.readline() == b"up\n"
        sweep()
        (left,) = tmp.iterdir()
        other.send_signal(signal.SIGKILL)
    made = Scratch()
    assert not left.exists()
    assert list(tmp.iterdir()) == [made.path]
    made.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell")
def test_who_writes_into_it_goes_with_the_folder_and_who_reads_it_stays() -> None:
    made = Scratch()
    log = made.path / "agent.log"
    # The one that is forgotten is a child of one that has ended.
    sleeps = f"exec {sys.executable} -c 'import time; time.sleep(60)'"
    begins = f"({sleeps}) > /dev/null 2>&1 3> {log} & echo $!"
    forgotten = int(subprocess.check_output(["sh", "-c", begins]))
    while not log.exists():
        time.sleep(0.01)
    with log.open() as shown, subprocess.Popen(["sleep", "60"], stdin=shown) as reader:
        made.close()
        assert reader.poll() is None
        reader.kill()
    # Whoever adopted it has to fetch it: until then it is a zombie.
    status = Path(f"/proc/{forgotten}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()
