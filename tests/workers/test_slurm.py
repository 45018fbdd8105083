"""The script for SLURM, with stand-ins for its commands: two nodes, both this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SRUN = """#!/usr/bin/env bash
while [[ "$1" == --* ]]; do shift; done
exec "$@" --num-cpus=1 --object-store-memory=100000000
"""


def stand_in(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(script)
    file.chmod(0o755)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'ray' is not installed")
def test_the_script_runs_the_command_on_every_node_and_leaves_nothing(tmp_path: Path) -> None:
    stand_in(tmp_path, "srun", SRUN)
    stand_in(tmp_path, "scontrol", "#!/bin/sh\necho 127.0.0.1\necho second\n")
    output = tmp_path / "run"
    told = ["--model", "fake", "--model-option", "delay=0.05", "--data", "demo", "--tasks", "vqav2"]
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", str(ROOT / "docs/slurm.sh"), *told, "--workers", "2", "--output", str(output)],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "two",
            "SLURM_JOB_NUM_NODES": "2",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads((output / "results.json").read_text())["cells"]
    assert cell["workers"] == {"cpu": {"workers": 2, "answers": 600}}
    assert not Path(f"/tmp/ie-ray-{os.getpid()}").exists()
