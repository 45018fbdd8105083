"""Joining a cluster that somebody else holds: its token, and runs side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra 'ray' is not installed"),
]

TOKEN = "5" * 64
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
}
HEAD = """
import sys, ray
from infimm_eval.workers.cluster import few_helpers

with few_helpers(ray):
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        configure_logging=False, object_store_memory=100_000_000, _temp_dir=sys.argv[1],
    )
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""
ASKED = ["--model", "fake", "--model-option", "delay=0.01", "--data", "demo", "--tasks", "vqav2"]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # A short path, for the sockets in it.
    with tempfile.TemporaryDirectory(prefix="ie-head-", ignore_cleanup_errors=True) as folder:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-c", HEAD, folder]
        with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, **pipes) as head:
            assert head.stdout is not None
            yield head.stdout.readline().strip()
            head.communicate("")


def begun(address: str, output: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "infimm_eval", "run", *ASKED, "-q", "--output", str(output)]
    return subprocess.Popen(
        [*command, "--ray", address, "--workers", "1"],
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_cluster_with_another_token_is_refused_in_one_line(address: str, tmp_path: Path) -> None:
    run = begun(address, tmp_path / "run", RAY_AUTH_TOKEN="6" * 64)
    told, said = run.communicate(timeout=120)
    assert (run.returncode, told) == (2, "")
    (line,) = said.splitlines()
    assert f"no Ray cluster can be joined at {address} (its token is another; copy" in line


def test_two_runs_share_a_cluster_and_neither_hears_of_the_other(
    address: str, tmp_path: Path
) -> None:
    runs = [begun(address, tmp_path / name) for name in ("one", "other")]
    for run in runs:
        _, said = run.communicate(timeout=240)
        assert (run.returncode, said) == (0, "")
    one, other = (
        json.loads((tmp_path / name / "results.json").read_text())["cells"][0]
        for name in ("one", "other")
    )
    assert one["workers"] == other["workers"] == {"cpu": {"workers": 1, "answers": 600}}
    assert one["metrics"] == other["metrics"]
