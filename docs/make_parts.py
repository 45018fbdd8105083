"""Write ``docs/parts.md``: what a task may be put together from, as its docstrings say it.

python docs/make_parts.py
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from infimm_eval import registry
from infimm_eval.types import CorpusFunction, PromptTemplate, Rubric, Scorer

HEAD = """# Parts of a task

What a `Task` may be put together from, written by `docs/make_parts.py` from the docstrings. How the
parts fit together: [the README](../README.md#a-benchmark-of-your-own-in-12-lines) and, for what a
benchmark brings itself, [the benchmarks](../tasks/README.md).
"""
READERS = ("lines", "tsv", "captions", "vqa", "parquet")


def page() -> str:
    """The whole page."""
    sections = [
        ("Prompt templates", "`infimm_eval.prompts`", templates()),
        ("Scorers", "`infimm_eval.scorers`", scorers()),
        ("Scorers of single benchmarks", "`tasks`", scorers_of_tasks()),
        ("Metrics", "`infimm_eval.metrics`", metrics()),
        ("Readers", "`infimm_eval.data`", readers()),
    ]
    parts = [HEAD]
    for title, where, lines in sections:
        parts += [f"## {title}\n", f"In {where}.\n", *lines, ""]
    return "\n".join(parts)


def templates() -> Iterator[str]:
    """Functions that return a prompt template."""
    prompts = import_module("infimm_eval.prompts")
    for name, function in functions(prompts):
        if inspect.signature(function).return_annotation == PromptTemplate.__name__:
            yield item(f"prompts.{name}{signature(function)}", function.__doc__)


def scorers() -> Iterator[str]:
    """The scorers that several benchmarks share, by module."""
    folder = Path(str(import_module("infimm_eval.scorers").__file__)).parent
    for path in sorted(folder.glob("[!_]*.py")):
        module = import_module(f"infimm_eval.scorers.{path.stem}")
        named = [(name, value) for name, value in vars(module).items() if isinstance(value, Scorer)]
        if named:
            yield f"**`scorers.{path.stem}`**: {brief(module.__doc__)}\n"
            for name, scorer in named:
                yield f"* `{path.stem}.{name}`: {about(scorer)}"
            yield ""


def scorers_of_tasks() -> Iterator[str]:
    """What each benchmark is scored by."""
    for name in registry.names():
        task = registry.load(name)
        yield f"* `{name}`: {'; '.join(map(about, task.scorers))}"


def about(scorer: Scorer) -> str:
    """Name, version and kind of a scorer."""
    kinds = {CorpusFunction: "over the whole corpus", Rubric: "by a judge"}
    kind = next((said for of, said in kinds.items() if isinstance(scorer.function, of)), "")
    return " ".join(filter(None, [f"**{scorer.name}** version {scorer.version}", kind]))


def metrics() -> Iterator[str]:
    """Functions that make a metrics function."""
    module = import_module("infimm_eval.metrics")
    for name, function in functions(module):
        if inspect.signature(function).return_annotation == "Metrics":
            yield item(f"metrics.{name}{signature(function)}", function.__doc__)


def readers() -> Iterator[str]:
    """Classes that read rows from a person's folder."""
    for stem in READERS:
        module = import_module(f"infimm_eval.data.{stem}")
        for name, kind in vars(module).items():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__ and name[0] != "_"
            if own and hasattr(kind, "rows") and hasattr(kind, "files"):
                yield item(f"data.{stem}.{name}{signature(kind)}", kind.__doc__)


def functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., object]]]:
    """The public functions that a module defines, in its order."""
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_":
            yield name, value


def signature(function: Callable[..., object]) -> str:
    """As it is written: annotations without the quotes that they are kept in."""
    written = re.sub(r"((?:: |-> ))'([^']*)'", r"\1\2", str(inspect.signature(function)))
    return written.removesuffix(" -> None")


def item(name: str, doc: str | None) -> str:
    """A line of the list: the name, and all that its docstring says."""
    said = inspect.cleandoc(doc or "").replace("\n\n", " ").replace("\n", " ")
    return f"* `{name}`: {said.replace('``', '`')}"


def brief(doc: str | None) -> str:
    """The first sentence of a docstring."""
    said = inspect.cleandoc(doc or "").split("\n\n")[0].replace("\n", " ")
    return said.replace("``", "`")


if __name__ == "__main__":
    (Path(__file__).parent / "parts.md").write_text(page(), encoding="utf-8")
