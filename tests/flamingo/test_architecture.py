"""Who may know whom inside `flamingo`: parts know no families, and nothing knows evaluation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from infimm_eval.flamingo import LAYOUTS

PACKAGE = "infimm_eval.flamingo"
ROOT = Path(__file__).parents[2] / "infimm_eval" / "flamingo"
MODULES = sorted(path for path in ROOT.rglob("*.py"))


def name(path: Path) -> str:
    """A module's name inside the package; a folder's `__init__` has the folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {name(path) for path in MODULES}


def imported(path: Path) -> set[str]:
    """What of infimm_eval a module imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports from where it stands"
            module = str(node.module)
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                found.add(f"{PACKAGE}.{inner}" if inner in NAMES else module)
    return {module for module in found if module.startswith("infimm_eval")}


def inside(path: Path) -> set[str]:
    """The same, of this package alone, by the modules' names in it."""
    start = f"{PACKAGE}."
    return {m.removeprefix(start) for m in imported(path) if m.startswith(start)}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_no_module_has_heard_of_evaluation(path: Path) -> None:
    outside = {m for m in imported(path) if m != PACKAGE and not m.startswith(f"{PACKAGE}.")}
    assert outside <= {"infimm_eval.errors"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_layouts_know_which_towers_and_decoders_there_are(path: Path) -> None:
    parts = {m for m in inside(path) if m.startswith(("towers.", "decoders."))}
    assert not parts or name(path).startswith("layouts.")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_the_table_of_layouts_knows_which_there_are(path: Path) -> None:
    families = inside(path) & {f"layouts.{family}" for family in LAYOUTS}
    assert not families or name(path) == "layouts"


def test_no_modules_import_each_other_in_a_circle() -> None:
    knows = {name(path): inside(path) for path in MODULES if name(path)}
    while free := {module for module, others in knows.items() if not others & knows.keys()}:
        knows = {module: others for module, others in knows.items() if module not in free}
    assert not knows
