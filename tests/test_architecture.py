"""Who may import whom, and what importing may do."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS = [
    {"cli", "__main__"},
    {"run", "report", "compare", "icl", "series", "tasks"},
    {"workers"},
    {"logs", "data", "registry", "models", "published", "submissions", "demo"},
    {"formats", "prompts", "scorers", "metrics", "stats", "shots", "flamingo"},
    {"types", "errors", "packed", "plugins", "texts"},
]
"""Upper floors import lower ones; rooms of one floor may know their neighbours."""

COMMANDS = "demo/train/"
"""A command of its own, which stands above everything like ``cli``."""

FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@cache
def sources() -> list[Path]:
    return sorted([*ROOT.glob("infimm_eval/**/*.py"), *ROOT.glob("tasks/**/*.py")])


def module(path: Path) -> str:
    """The dotted name; tasks count as a room of the package, as in a wheel."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "infimm_eval" else ("infimm_eval", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "tasks" if parts[0] == "tasks" else parts[1]


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules of this package that a file imports when it runs, also inside functions."""
    modules = {module(other) for other in sources()}
    found: set[str] = set()
    for node in at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            found |= {f"{base}.{alias.name}" for alias in node.names}
            found.add(base)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return frozenset(found & modules - {"infimm_eval"})


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """What an import is from, written out."""
    named = node.module or ""
    if not node.level:
        return f"infimm_eval.{named}" if named.split(".")[0] == "tasks" else named
    inside = module(path).split(".")
    inside = inside if path.name == "__init__.py" else inside[:-1]
    return ".".join([*inside[: len(inside) - node.level + 1], *filter(None, [named])])


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from at_run_time(node)


def rooms(path: Path) -> set[str]:
    """The rooms that a file imports."""
    return {name.split(".")[1] for name in imports(path)}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.sampled
@pytest.mark.parametrize("path", sources(), ids=named)
def test_imports_run_downhill(path: Path) -> None:
    if room(path) == "__init__" or COMMANDS in path.as_posix():
        return
    above = {other for other in rooms(path) if FLOOR[other] < FLOOR[room(path)]}
    assert not above, f"{path.name} may not import {', '.join(sorted(above))}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("tasks/**/*.py")), ids=named)
def test_a_task_imports_no_model_runner_log_or_other_task(path: Path) -> None:
    assert not rooms(path) & {"models", "run", "logs", "flamingo", "registry", "cli"}
    own = ".".join(module(path).split(".")[:3])
    others = {name for name in imports(path) if name.startswith("infimm_eval.tasks")}
    assert {".".join(name.split(".")[:3]) for name in others} <= {own, "infimm_eval.tasks"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("infimm_eval/flamingo/**/*.py")), ids=named)
def test_flamingo_has_never_heard_of_evaluation(path: Path) -> None:
    assert rooms(path) <= {"flamingo", "errors"}


def test_no_imports_form_a_loop() -> None:
    """Also those inside functions: what is imported late is not understood sooner."""
    graph = {module(path): set(imports(path)) for path in sources()}
    # A package and its own modules are one room: `from package import module` is no way back.
    for name, to in graph.items():
        graph[name] = {other for other in to if not name.startswith(f"{other}.")} - {name}
    assert loops(graph) == []


def loops(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that reach each other (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_loops_are_found() -> None:
    assert loops({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.sampled
@pytest.mark.parametrize("path", sources(), ids=named)
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            parameters = len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
            assert lines <= 60 and parameters <= 10 + (node.args.args[:1] == ["self"]), node.name


@pytest.mark.slow
def test_importing_the_light_rooms_loads_no_heavy_library() -> None:
    light = [
        "cli",
        "run",
        "run.evaluate",
        "registry",
        "report",
        "compare",
        "models",
        "logs",
        "series.watch",
    ]
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


def test_no_benchmark_is_named_outside_its_own_place() -> None:
    """But in the demo, which draws rows for each."""
    benchmarks = {path.stem if path.suffix else path.name for path in ROOT.glob("tasks/[!_]*")}
    alone = {"mme", "mmmu", "mmbench"} & benchmarks
    assert alone == {"mme", "mmmu", "mmbench"}
    for path in ROOT.glob("infimm_eval/**/*.py"):
        if "demo" in path.parts:
            continue
        words = set(path.read_text(encoding="utf-8").lower().replace("_", " ").split())
        assert not words & alone, path
