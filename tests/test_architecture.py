"""Who may import whom, and what importing may do."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = [
    {"cli", "__main__"},
    {
        "runner",
        "plan",
        "questions",
        "measuring",
        "judging",
        "report",
        "compare",
        "submit",
        "scoring",
        "screen",
        "tasks",
    },
    {"log", "data", "registry", "models", "published", "thumbnails", "formats", "demo"},
    {"prompts", "scorers", "metrics", "stats", "shots", "flamingo"},
    {"types", "errors", "packed", "plugins"},
]
"""Upper floors import lower ones; rooms of one floor may know their neighbours."""

COMMANDS = "demo/train/"
"""A command of its own, which stands above everything like ``cli``."""

FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def sources() -> list[Path]:
    return sorted([*ROOT.glob("infimm_eval/**/*.py"), *ROOT.glob("tasks/*.py")])


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "tasks" if parts[0] == "tasks" else parts[1]


def imported(path: Path) -> set[str]:
    """The rooms of this package that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "infimm_eval":
            found |= {alias.name for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infimm_eval."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] for name in names if name[0] == "infimm_eval" and len(name) > 1}
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downhill(path: Path) -> None:
    if room(path) == "__init__" or COMMANDS in path.as_posix():
        return
    above = {other for other in imported(path) if FLOOR[other] < FLOOR[room(path)]}
    assert not above, f"{path.name} may not import {', '.join(sorted(above))}"


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*.py")), ids=lambda path: path.stem)
def test_a_task_imports_no_model_runner_log_or_other_task(path: Path) -> None:
    assert not imported(path) & {"models", "runner", "log", "tasks", "flamingo", "registry", "cli"}


def test_flamingo_has_never_heard_of_evaluation() -> None:
    for path in (ROOT / "infimm_eval" / "flamingo").glob("*.py"):
        assert imported(path) <= {"flamingo", "errors"}, path.name


def test_importing_the_light_rooms_loads_no_heavy_library() -> None:
    light = ["cli", "runner", "registry", "report", "compare", "submit", "scoring", "models", "log"]
    code = "; ".join(
        [
            "import sys",
            *(f"import infimm_eval.{room}" for room in light),
            "heavy = {'torch', 'transformers', 'datasets', 'open_clip', 'pandas'}",
            "print(' '.join(sorted(heavy & set(sys.modules))))",
        ]
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert out.stdout.split() == []


def test_help_does_not_load_the_library_that_computes(tmp_path: Path) -> None:
    code = (
        "import sys; from infimm_eval.cli import main; main(['--help']); "
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "--tasks" in done.stdout
