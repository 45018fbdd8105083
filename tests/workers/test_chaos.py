"""A short storm; ``python -m tests.workers.chaos`` is the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'ray' is not installed")
def test_in_a_storm_nothing_is_lost_doubled_or_strange(tmp_path: Path) -> None:
    told = ["--models", "fake", "--events", "10", "--seed", "5", "--limit", "300"]
    told += ["--gap", "1", "--delay", "0.1"]
    command = [sys.executable, "-m", "tests.workers.chaos", str(tmp_path), *told]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["exit_codes"]) == {"0"} and sum(found["events"].values()) == 10
    assert [found[name] for name in ("lost", "strange", "doubled", "unequal")] == [0, 0, 0, 0]
    assert found["ended"] == found["runs"] > 0
