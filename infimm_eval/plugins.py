"""Python objects that a person names: in a file, in a module, in an installed package.

Knows nothing of what they are for.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from infimm_eval.errors import InfimmEvalError, UsageError, named

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Result = TypeVar("Result")


def from_file(path: Path, package: str) -> ModuleType:
    """The module that a Python file, or a folder with an ``__init__.py``, is; loaded once.

    Its name is ``package.<stem>``, so that the modules of a folder may import each other
    (``from . import files``).  UsageError where there is no such file or it cannot be imported.
    """
    try:
        path = path.expanduser().resolve()
        path = path / "__init__.py" if path.is_dir() else path
        there = path.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL inside, nobody's home
        there = False
    if not there:
        raise UsageError(f"no file {named(str(path))}; give the path of a Python file")
    inside = [str(path.parent)] if path.name == "__init__.py" else None
    name = f"{package}.{path.parent.name if inside else path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    for stale in [other for other in sys.modules if other.startswith(f"{name}.")]:
        del sys.modules[stale]  # of another folder of this name
    spec = spec_from_file_location(name, path, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded as a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # relative imports and dataclasses look their module up by name
    try:
        _imported(str(path), partial(spec.loader.exec_module, module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def from_module(name: str) -> ModuleType:
    """A module by its dotted name; UsageError where there is none or it cannot be imported."""
    if not importable(name):
        raise UsageError(f"no module {name} is installed or lies in {Path.cwd()}")
    return _imported(name, partial(import_module, name))


def importable(name: str) -> bool:
    """Whether there is a module, or a package for it, installed or where the program was started.
    Imports nothing."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last, so that nothing installed is hidden
    top = name.partition(".")[0]
    return top in sys.modules or find_spec(top) is not None


def attribute(module: ModuleType, name: str) -> object:
    """What the module calls ``name``; UsageError that says where it was looked for."""
    if not hasattr(module, name):
        raise UsageError(f"{module.__file__ or module.__name__} does not define {name}")
    return getattr(module, name)


def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of installed packages, by name; reads metadata and imports none of them."""
    from importlib.metadata import entry_points  # takes longer than all else here

    return {point.name: point for point in entry_points(group=group)}


def from_entry_point(point: EntryPoint) -> object:
    """The object that an installed package offers; UsageError where it cannot be imported."""
    return _imported(f"{point.name} ({point.value})", point.load)


def _imported(what: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except InfimmEvalError:
        raise
    except Exception as error:
        said = str(error).strip().split("\n")[0]
        place = _place(error)
        raise UsageError(
            f"{what} cannot be imported: {type(error).__name__}: {said} ({place})"
        ) from error


def _place(error: Exception) -> str:
    """Where it was raised: the last line of Python that is not of the import machinery."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "no line"
