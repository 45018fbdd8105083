"""What tests share: small values, a listener, a run in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from infimm_eval import logs, registry
from infimm_eval.models.fake import Fake
from infimm_eval.run import Plan, ProgressListener
from infimm_eval.run import run as run_plan
from infimm_eval.types import Model, Task
from tests.golden import mini

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked ``sampled`` one case is in the fast suite: which one, its name decides, so
    that tests of the same cases do not all have the same one."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, found in cases.items():
        chosen = crc32(name.encode()) % len(found)
        for item in (*found[:chosen], *found[chosen + 1 :]):
            item.add_marker("slow")


class Listener(ProgressListener):
    """Remembers what it is told, and how many answers came from the log."""

    def __init__(self) -> None:
        self.known = 0
        self.notes: list[str] = []

    def asked(self, known: bool) -> None:
        self.known += known

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """A folder of the shared material, or a skip that says why."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"needs {name} in the folder shared beside the project")
        return SHARED / name

    return find


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in the official layouts of COCO and VQAv2, drawn by code."""
    return mini.write(tmp_path_factory.mktemp("mini"))


@pytest.fixture(params=["drawn", "real_mini"])
def data_folder(request: pytest.FixtureRequest, drawn: Path, shared: Callable[[str], Path]) -> Path:
    """Data in the official layouts: drawn pictures, and photographs where they are at hand."""
    return drawn if request.param == "drawn" else shared(request.param)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[logs.Cell]]:
    """Run a task on the demo data with a fake model: ``run("vqav2", limit=5)``."""

    def go(
        *tasks: str | Task,
        model: Model | None = None,
        folder: Path = tmp_path / "run",
        listener: ProgressListener | None = None,
        **plan: Any,
    ) -> list[logs.Cell]:
        loaded = [registry.load(task) if isinstance(task, str) else task for task in tasks]
        defaults: dict[str, Any] = {"samples_shown": 0}
        planned = Plan(tasks=loaded, **{**defaults, **plan})
        return run_plan(planned, model or Fake(), folder, listener or ProgressListener())

    return go
